// What a task fills in: facts, questions and the filler between them.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "kvasir/core/random.h"
#include "kvasir/measure/tasks/task.h"
#include "kvasir/measure/tasks/words.h"

namespace kvasir {

// Draws without replacement from [0, n): a shuffle that keeps only what it has moved.
class Deck {
 public:
  explicit Deck(size_t n = 0) : left_(n) {}
  bool empty() const { return left_ == 0; }
  // Not empty.
  size_t Draw(SplitMix64& random);

 private:
  size_t left_;
  std::unordered_map<size_t, size_t> moved_;
};

// Distinct pairs (first, second) of two lists, of the seed's side of the split only. The second
// list's length is a multiple of 4.
class PairDeck {
 public:
  PairDeck(WordList first, WordList second, bool held_out);
  bool empty() const { return deck_.empty(); }
  // "first second". Not empty.
  std::string Draw(SplitMix64& random, std::string_view separator = " ");

 private:
  WordList first_, second_;
  bool held_out_;
  Deck deck_;
};

// The words in a random order, a space between them.
std::string ShuffledLine(std::vector<std::string> words, SplitMix64& random);

inline constexpr std::string_view kConsonants = "bdfgklmnprstvz", kVowels = "aeiou";

// "a" or "an".
std::string_view IndefiniteArticle(std::string_view word);

class TaskDraft {
 public:
  TaskDraft(const TaskInfo& task, const TaskOptions& options);

  // Facts and questions draw from `random`, filler from `fill_random`: what is asked does not
  // depend on the length.
  SplitMix64 random, fill_random;

  bool held_out() const { return held_out_; }
  int n_turn() const { return options_.n_turn; }
  int n_key() const { return options_.n_key; }

  // Draws without replacement; an empty text once the list is used up. Filler may use them up, of
  // facts Finish then reports it.
  std::string Key(std::string_view separator = " ");  // "amber lantern"
  std::string Noun();                                 // one key noun of the seed's side
  std::string Number();                               // four digits, the first not 0
  std::string_view Pick(WordList words) { return words[random.Below(words.size())]; }

  // A unit of the context at a uniform depth.
  void AddFact(std::string text);
  // Several, likewise, that stand in the order given.
  void AddOrdered(std::vector<std::string> texts);
  // A question and what its reply must hold; the whole reply is the list of that, or `answer`.
  void Ask(std::string question, std::vector<std::string> expected, std::string answer = {});

  // What stands before and after all units.
  void SetFrame(std::string head, std::string tail);
  // Between units. Without it: a space, and a new line after every sixth.
  void SetSeparator(std::string separator) { separator_ = std::move(separator); }
  // What makes units of filler, given their index; an empty one ends the filler. Without it:
  // sentences that hold none of the keys and answers.
  void SetFiller(std::function<std::string(size_t index)> filler) { filler_ = std::move(filler); }
  // Fewer units of filler are refused.
  void SetLeastFiller(size_t n) { least_filler_ = n; }

  Status TooManyKeys() const;
  Result<TaskCase> Finish();

 private:
  struct Fact {
    std::string text;
    double depth;  // in [0, 1)
  };

  // The context with n units of filler.
  std::string Assemble(size_t n) const;
  // Makes units of filler up to n; false where they end before.
  bool Grow(size_t n);
  std::string NextSentence();
  int64_t Count(size_t n) const { return options_.count(Assemble(n)); }
  Result<size_t> FitFiller();

  const TaskInfo& task_;
  const TaskOptions options_;  // without defaults left open
  bool held_out_;
  PairDeck keys_;
  Deck nouns_, numbers_{9000};
  bool exhausted_ = false;  // a fact wanted more than the lists hold
  bool filling_ = false;
  std::string head_, tail_, separator_;
  std::function<std::string(size_t)> filler_;
  size_t least_filler_ = 0;
  size_t next_sentence_ = 0;
  std::vector<std::string> reserved_;  // keys and numbers: filler must not hold them
  std::vector<Fact> facts_;
  std::vector<std::string> units_;  // of filler
  std::vector<TaskTurn> turns_;
};

}  // namespace kvasir
