#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "kvasir/measure/tasks/draft.h"

namespace kvasir {
namespace {

constexpr size_t kOthers = 48, kOthersPerLine = 3;

// Three syllables of a consonant and a vowel.
std::string CodedWord(size_t index) {
  std::string word;
  for (int i = 0; i < 3; ++i) {
    word += kConsonants[index % kConsonants.size()];
    index /= kConsonants.size();
    word += kVowels[index % kVowels.size()];
    index /= kVowels.size();
  }
  return word;
}
constexpr size_t kCodedWords = 70 * 70 * 70;

// Of n asked words the most frequent comes n + 1 times in a line and the least frequent twice; any
// other at most once.
std::string Line(const std::vector<std::string>& words, size_t n_asked, SplitMix64& random) {
  std::vector<std::string> line;
  for (size_t i = 0; i < n_asked; ++i) line.insert(line.end(), n_asked + 1 - i, words[i]);
  Deck others(kOthers);
  for (size_t i = 0; i < kOthersPerLine; ++i) {
    line.push_back(words[n_asked + others.Draw(random)]);
  }
  return ShuffledLine(std::move(line), random);
}

Status Draft(TaskDraft& draft) {
  const auto n_asked = static_cast<size_t>(draft.n_key());
  std::vector<std::string> words;
  Deck coded(kCodedWords);
  for (size_t i = 0; i < n_asked + kOthers; ++i) {
    words.push_back(CodedWord(coded.Draw(draft.random)));
  }
  const std::vector<std::string> asked(words.begin(), words.begin() + draft.n_key());
  draft.Ask(fmt::format("Which {} words are the most frequent?", n_asked), asked);
  if (draft.n_turn() > 1) draft.Ask("Which word is the most frequent?", {asked.front()});
  draft.SetSeparator("\n");
  draft.SetLeastFiller(1);
  draft.SetFiller(
      [&draft, words, n_asked](size_t) { return Line(words, n_asked, draft.fill_random); });
  return Status::Ok();
}

}  // namespace

const TaskInfo& frequent_words_task() {
  static constexpr TaskInfo task = {
      .name = "frequent_words",
      .summary = "the most frequent of invented words, in falling order",
      .card = "RULER frequent words, arXiv:2404.06654",
      .n_turn = 1,
      .n_key = 3,
      .keys = "words asked for",
      .draft = Draft,
  };
  return task;
}

}  // namespace kvasir
