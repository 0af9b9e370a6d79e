#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "kvasir/measure/tasks/draft.h"

namespace kvasir {
namespace {

constexpr size_t kRarePerLine = 6;

// Deals the words of a list, all of them before any comes again.
class Dealer {
 public:
  explicit Dealer(std::vector<std::string> words) : words_(std::move(words)) {}
  const std::string& Next(SplitMix64& random) {
    if (deck_.empty()) deck_ = Deck(words_.size());
    return words_[deck_.Draw(random)];
  }

 private:
  std::vector<std::string> words_;
  Deck deck_;
};

std::vector<std::string> RareWords(const std::vector<std::string>& common) {
  std::vector<std::string> words;
  for (const WordList list : {KeyNouns(), Animals(), Foods(), Tools()}) {
    for (const std::string_view word : list) {
      if (std::find(common.begin(), common.end(), word) == common.end()) words.emplace_back(word);
    }
  }
  return words;
}

// Every line holds each common word once. A rare word comes once in some sixty lines, so three
// lines tell them apart.
Status Draft(TaskDraft& draft) {
  std::vector<std::string> common;
  for (int i = 0; i < draft.n_key(); ++i) common.push_back(draft.Noun());
  std::sort(common.begin(), common.end());
  draft.Ask(fmt::format("Which {} words are the most common?", common.size()), common);
  draft.SetSeparator("\n");
  draft.SetLeastFiller(3);
  auto rare = std::make_shared<Dealer>(RareWords(common));
  draft.SetFiller([&draft, rare, common](size_t) {
    std::vector<std::string> words = common;
    for (size_t i = 0; i < kRarePerLine; ++i) words.push_back(rare->Next(draft.fill_random));
    return ShuffledLine(std::move(words), draft.fill_random);
  });
  return Status::Ok();
}

}  // namespace

const TaskInfo& common_words_task() {
  static constexpr TaskInfo task = {
      .name = "common_words",
      .summary = "the words that a list repeats most, all equally often",
      .card = "RULER common words, arXiv:2404.06654",
      .n_turn = 1,
      .n_key = 3,
      .keys = "common words",
      .draft = Draft,
  };
  return task;
}

}  // namespace kvasir
