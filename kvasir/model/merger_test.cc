#include "kvasir/model/merger.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ctime>
#include <map>
#include <optional>
#include <random>

namespace kvasir {
namespace {

using ::testing::ElementsAre;

// Merging as the papers state it: look through the whole word for the best pair, merge, repeat.
// `rank` gives a pair's priority, smaller first, or nothing.
template <typename Rank>
std::vector<std::string> MergeBySearch(std::string_view word, Rank rank) {
  std::vector<std::string> parts;
  for (const char c : word) parts.emplace_back(1, c);
  while (true) {
    std::optional<double> best;
    size_t at = 0;
    for (size_t i = 0; i + 1 < parts.size(); ++i) {
      const std::optional<double> found = rank(parts[i], parts[i + 1]);
      if (found && (!best || *found < *best)) {
        best = found;
        at = i;
      }
    }
    if (!best) return parts;
    parts[at] += parts[at + 1];
    parts.erase(parts.begin() + static_cast<ptrdiff_t>(at) + 1);
  }
}

// A vocabulary grown at random over few letters, so that merges overlap in every way.
VocabularySpec RandomSpec(std::mt19937& random, VocabularySpec::Type type) {
  VocabularySpec spec;
  spec.type = type;
  spec.tokens = {"a", "b", "c"};
  std::map<std::string, bool> known = {{"a", true}, {"b", true}, {"c", true}};
  for (int i = 0; i < 30; ++i) {
    const std::string left = spec.tokens[random() % spec.tokens.size()];
    const std::string right = spec.tokens[random() % spec.tokens.size()];
    if (left.size() + right.size() > 12) continue;
    if (!known.emplace(left + right, true).second) continue;
    spec.tokens.push_back(left + right);
    spec.merges.emplace_back(left, right);
  }
  std::shuffle(spec.merges.begin(), spec.merges.end(), random);
  for (size_t i = 0; i < spec.tokens.size(); ++i) {
    spec.scores.push_back(-static_cast<float>(random() % 8));  // equal scores are common
  }
  spec.kinds.assign(spec.tokens.size(), TokenKind::kNormal);
  return spec;
}

std::string RandomWord(std::mt19937& random) {
  std::string word;
  for (size_t n = random() % 40; n > 0; --n) word += static_cast<char>('a' + random() % 3);
  return word;
}

std::vector<std::string> MergedTexts(const VocabularySpec& spec, const Merger& merger,
                                     std::string_view word) {
  MergeScratch scratch;
  std::vector<TokenId> ids;
  merger.Merge(word, scratch, ids);
  std::vector<std::string> texts;
  for (const TokenId id : ids) texts.push_back(spec.tokens[id]);
  return texts;
}

TEST(BpeMerger, MergesLikeASearchForTheFirstListedPair) {
  std::mt19937 random(1);
  for (int round = 0; round < 300; ++round) {
    const VocabularySpec spec = RandomSpec(random, VocabularySpec::Type::kBpe);
    std::map<std::pair<std::string, std::string>, double> ranks;
    for (size_t i = 0; i < spec.merges.size(); ++i) ranks[spec.merges[i]] = static_cast<double>(i);
    const TokenIndex index(spec.tokens, spec.kinds);
    const auto merger = MakeBpeMerger(spec, index).value();
    for (int i = 0; i < 20; ++i) {
      const std::string word = RandomWord(random);
      EXPECT_EQ(MergedTexts(spec, *merger, word),
                MergeBySearch(word,
                              [&](const std::string& left, const std::string& right) {
                                const auto found = ranks.find({left, right});
                                return found == ranks.end() ? std::nullopt
                                                            : std::optional(found->second);
                              }))
          << word << ", round " << round;
    }
  }
}

TEST(SpmMerger, MergesLikeASearchForTheHighestScore) {
  std::mt19937 random(2);
  for (int round = 0; round < 300; ++round) {
    const VocabularySpec spec = RandomSpec(random, VocabularySpec::Type::kSpm);
    std::map<std::string, double> scores;
    for (size_t i = 0; i < spec.tokens.size(); ++i) scores[spec.tokens[i]] = spec.scores[i];
    const TokenIndex index(spec.tokens, spec.kinds);
    const auto merger = MakeSpmMerger(spec, index);
    for (int i = 0; i < 20; ++i) {
      const std::string word = RandomWord(random);
      EXPECT_EQ(MergedTexts(spec, *merger, word),
                MergeBySearch(word,
                              [&](const std::string& left, const std::string& right) {
                                const auto found = scores.find(left + right);
                                return found == scores.end() ? std::nullopt
                                                             : std::optional(-found->second);
                              }))
          << word << ", round " << round;
    }
  }
}

TEST(SpmMerger, TakesUnusedTokensApartAgain) {
  VocabularySpec spec;
  spec.type = VocabularySpec::Type::kSpm;
  spec.tokens = {"a", "b", "ab", "abab"};
  spec.scores = {0, 0, -1, -2};
  spec.kinds = {TokenKind::kNormal, TokenKind::kNormal, TokenKind::kNormal, TokenKind::kUnused};
  const TokenIndex index(spec.tokens, spec.kinds);
  EXPECT_THAT(MergedTexts(spec, *MakeSpmMerger(spec, index), "abab"), ElementsAre("ab", "ab"));
}

TEST(SpmMerger, FallsBackToBytesOrToUnknown) {
  VocabularySpec spec;
  spec.type = VocabularySpec::Type::kSpm;
  spec.tokens = {"<unk>", "a", "<0xC3>", "<0xA9>"};
  spec.kinds = {TokenKind::kUnknown, TokenKind::kNormal, TokenKind::kByte, TokenKind::kByte};
  spec.unk = 0;
  spec.byte_fallback = true;
  const TokenIndex index(spec.tokens, spec.kinds);
  const auto merger = MakeSpmMerger(spec, index);
  EXPECT_THAT(MergedTexts(spec, *merger, "a\xC3\xA9"), ElementsAre("a", "<0xC3>", "<0xA9>"));
  EXPECT_THAT(MergedTexts(spec, *merger, "\xC3\xA8"), ElementsAre("<unk>"));
  EXPECT_THAT(MergedTexts(spec, *merger, "\xA9\xFF"), ElementsAre("<0xA9>", "<unk>"));
}

TEST(BpeMerger, NeverMakesAControlToken) {
  VocabularySpec spec;
  spec.tokens = {"<", "s", ">", "<s", "<s>"};
  spec.kinds.assign(5, TokenKind::kNormal);
  spec.kinds[4] = TokenKind::kControl;
  spec.merges = {{"<", "s"}, {"<s", ">"}};
  spec.ignore_merges = true;
  const TokenIndex index(spec.tokens, spec.kinds);
  EXPECT_THAT(MergedTexts(spec, *MakeBpeMerger(spec, index).value(), "<s>"),
              ElementsAre("<s", ">"));
}

TEST(BpeMerger, NamesAMergeOfWhatIsNoToken) {
  VocabularySpec spec;
  spec.tokens = {"a", "b"};
  spec.kinds.assign(2, TokenKind::kNormal);
  spec.merges = {{"a", "b"}};
  const TokenIndex index(spec.tokens, spec.kinds);
  EXPECT_EQ(MakeBpeMerger(spec, index).status().message(),
            "merge 0: expected 'ab' among the 2 tokens");
}

// A quadratic merge of a million letters takes hours; this one takes a second or so.
TEST(Mergers, TakeAMillionEqualLetters) {
  VocabularySpec spec;
  spec.tokens = {"a"};
  for (int i = 0; i < 10; ++i) {
    spec.merges.emplace_back(spec.tokens.back(), spec.tokens.back());
    spec.tokens.push_back(spec.tokens.back() + spec.tokens.back());
  }
  spec.kinds.assign(spec.tokens.size(), TokenKind::kNormal);
  for (size_t i = 0; i < spec.tokens.size(); ++i) spec.scores.push_back(-static_cast<float>(i));
  const TokenIndex index(spec.tokens, spec.kinds);
  const std::string word(1 << 20, 'a');
  const std::clock_t start = std::clock();  // of the processor: a busy machine is not the test's
  for (const Merger* merger :
       {MakeBpeMerger(spec, index).value().release(), MakeSpmMerger(spec, index).release()}) {
    MergeScratch scratch;
    std::vector<TokenId> ids;
    merger->Merge(word, scratch, ids);
    EXPECT_EQ(ids, std::vector<TokenId>(1024, 10));
    delete merger;
  }
  EXPECT_LT((std::clock() - start) / CLOCKS_PER_SEC, 60);
}

}  // namespace
}  // namespace kvasir
