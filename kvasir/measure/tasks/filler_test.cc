#include "kvasir/measure/tasks/filler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cctype>
#include <set>

#include "kvasir/measure/tasks/draft.h"
#include "kvasir/measure/tasks/words.h"

namespace kvasir {
namespace {

TEST(Filler, SharesNoWordWithKeysAndAnswers) {
  const std::vector<std::string> vocabulary = FillerVocabulary();
  EXPECT_GT(vocabulary.size(), 400u);
  const std::set<std::string> words(vocabulary.begin(), vocabulary.end());
  for (const WordList list :
       {KeyAdjectives(), KeyNouns(), Animals(), Foods(), Tools(), Jobs(), Towns()}) {
    for (const std::string_view word : list)
      EXPECT_FALSE(words.contains(std::string(word))) << word;
  }
}

TEST(Filler, SaysOnlyWordsOfItsVocabulary) {
  const std::vector<std::string> vocabulary = FillerVocabulary();
  std::set<std::string> words(vocabulary.begin(), vocabulary.end());
  words.insert("an");
  SplitMix64 random(1);
  for (int i = 0; i < 2000; ++i) {
    std::string word;
    for (const char c : FillerSentence(random)) {
      if (std::isalpha(static_cast<unsigned char>(c)) != 0) {
        word += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      } else if (!word.empty()) {
        EXPECT_TRUE(words.contains(word)) << word;
        word.clear();
      }
    }
  }
}

TEST(Filler, RepeatsItselfRarely) {
  SplitMix64 random(2);
  std::set<std::string> seen;
  for (int i = 0; i < 2000; ++i) seen.insert(FillerSentence(random));
  EXPECT_GT(seen.size(), 1900u);
}

TEST(Filler, CutsTextAtFullStops) {
  EXPECT_THAT(SplitSentences("One  two.\nThree? No stop\n"),
              testing::ElementsAre("One two.", "Three?", "No stop"));
  EXPECT_TRUE(SplitSentences(" \n").empty());
  for (const std::string& sentence : SplitSentences(std::string(5000, 'a') + " b. c")) {
    EXPECT_FALSE(sentence.empty());
  }
}

TEST(Words, AreDistinctWithinTheirLists) {
  for (const WordList list : {KeyAdjectives(), KeyNouns(), FirstNames(), LastNames(), Towns(),
                              Jobs(), Animals(), Foods(), Tools(), Verbs()}) {
    EXPECT_EQ(std::set<std::string_view>(list.begin(), list.end()).size(), list.size());
  }
}

TEST(Words, OfKindsOccurInNoOther) {
  std::set<std::string_view> seen;
  size_t n = 0;
  for (const WordList list : {KeyAdjectives(), KeyNouns(), Animals(), Foods(), Tools(), Jobs()}) {
    seen.insert(list.begin(), list.end());
    n += list.size();
  }
  EXPECT_EQ(seen.size(), n);
}

TEST(Deck, DrawsEveryCardOnce) {
  for (const size_t n : {1, 2, 7, 100}) {
    SplitMix64 random(n);
    std::set<size_t> drawn;
    for (Deck deck(n); !deck.empty();) {
      const size_t card = deck.Draw(random);
      EXPECT_LT(card, n);
      EXPECT_TRUE(drawn.insert(card).second);
    }
    EXPECT_EQ(drawn.size(), n);
  }
}

TEST(Deck, DrawsEveryPairOnOneSideOnly) {
  SplitMix64 random(5);
  std::set<std::string> all;
  for (const bool held_out : {false, true}) {
    for (PairDeck deck(Jobs(), Foods(), held_out); !deck.empty();) {
      EXPECT_TRUE(all.insert(deck.Draw(random)).second);
    }
    EXPECT_EQ(all.size(), held_out ? 48u * 48 : 48u * 36);
  }
}

}  // namespace
}  // namespace kvasir
