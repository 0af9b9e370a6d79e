#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "kvasir/measure/tasks/draft.h"

namespace kvasir {
namespace {

constexpr int kKinds = 4;
constexpr size_t kExamples = 36;  // words of a kind that the context may label; the rest is asked

// A kind of words, split anew for every case, under a label of its own.
struct Kind {
  std::string label;
  std::vector<std::string_view> examples, asked;
};

std::string Label(SplitMix64& random) {
  return {kConsonants[random.Below(kConsonants.size())], kVowels[random.Below(kVowels.size())],
          kConsonants[random.Below(kConsonants.size())]};
}

// At most kKinds.
std::vector<Kind> DrawKinds(size_t n, SplitMix64& random) {
  const WordList lists[kKinds] = {Animals(), Foods(), Tools(), Jobs()};
  std::vector<Kind> kinds;
  for (Deck order(kKinds); kinds.size() < n;) {
    const WordList words = lists[order.Draw(random)];
    Kind kind;
    for (Deck split(words.size()); !split.empty();) {
      const std::string_view word = words[split.Draw(random)];
      (kind.examples.size() < kExamples ? kind.examples : kind.asked).push_back(word);
    }
    const auto taken = [&] {
      return std::any_of(kinds.begin(), kinds.end(),
                         [&](const Kind& other) { return other.label == kind.label; });
    };
    do kind.label = Label(random);
    while (taken());
    kinds.push_back(std::move(kind));
  }
  return kinds;
}

Status Draft(TaskDraft& draft) {
  if (draft.n_key() > kKinds) return draft.TooManyKeys();
  auto kinds = std::make_shared<std::vector<Kind>>(
      DrawKinds(static_cast<size_t>(draft.n_key()), draft.random));
  const size_t n_kind = kinds->size(), n_asked = kinds->front().asked.size();
  Deck order(n_kind * n_asked);
  for (int turn = 0; turn < draft.n_turn() && !order.empty(); ++turn) {
    const size_t drawn = order.Draw(draft.random);
    const Kind& kind = (*kinds)[drawn / n_asked];
    draft.Ask(fmt::format("What is the label of {}?", kind.asked[drawn % n_asked]), {kind.label});
  }
  draft.SetSeparator("\n");
  draft.SetLeastFiller(n_kind * 4);
  auto next = std::make_shared<Deck>();
  draft.SetFiller([&draft, kinds, next](size_t) {
    if (next->empty()) *next = Deck(kinds->size());  // every kind before any comes again
    const Kind& kind = (*kinds)[next->Draw(draft.fill_random)];
    return fmt::format("{}: {}", kind.examples[draft.fill_random.Below(kExamples)], kind.label);
  });
  return Status::Ok();
}

}  // namespace

const TaskInfo& rules_task() {
  static constexpr TaskInfo task = {
      .name = "rules",
      .summary = "labels of kinds of words, learnt from the context's examples alone",
      .card = "SCBench many-shot learning, arXiv:2412.10319",
      .n_turn = 1,
      .n_key = 3,
      .keys = "kinds with a label, at most 4",
      .draft = Draft,
  };
  return task;
}

}  // namespace kvasir
