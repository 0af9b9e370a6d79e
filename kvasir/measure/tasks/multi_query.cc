#include <vector>

#include "kvasir/measure/tasks/codes.h"

namespace kvasir {
namespace {

constexpr int kAsked = 3;  // at once

Status Draft(TaskDraft& draft) {
  std::vector<std::pair<std::string, std::string>> codes;
  for (int i = 0; i < draft.n_key(); ++i) {
    codes.emplace_back(draft.Key(), draft.Number());
    draft.AddFact(CodeFact(codes.back().first, codes.back().second));
  }
  Deck order(codes.size());
  const int n_asked = std::min(kAsked, draft.n_key());
  for (int turn = 0; turn < std::min(draft.n_turn(), draft.n_key() / n_asked); ++turn) {
    std::string keys;
    std::vector<std::string> numbers;
    for (int i = 0; i < n_asked; ++i) {
      const auto& [key, number] = codes[order.Draw(draft.random)];
      keys += i == 0 ? "" : i + 1 < n_asked ? ", " : " and ";
      keys += "the " + key;
      numbers.push_back(number);
    }
    draft.Ask(fmt::format("What are the codes of {}?", keys), std::move(numbers));
  }
  return Status::Ok();
}

}  // namespace

const TaskInfo& multi_query_task() {
  static constexpr TaskInfo task = {
      .name = "multi_query",
      .summary = "several keys in one question",
      .card = "RULER multi-query needles, arXiv:2404.06654",
      .n_turn = 1,
      .n_key = 8,
      .keys = "keys in the text, three of them asked for at once",
      .draft = Draft,
  };
  return task;
}

}  // namespace kvasir
