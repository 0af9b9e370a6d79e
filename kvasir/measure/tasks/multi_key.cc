#include <vector>

#include "kvasir/measure/tasks/codes.h"

namespace kvasir {

Status DraftCodes(TaskDraft& draft) {
  std::vector<std::pair<std::string, std::string>> codes;
  for (int i = 0; i < draft.n_key(); ++i) {
    codes.emplace_back(draft.Key(), draft.Number());
    draft.AddFact(CodeFact(codes.back().first, codes.back().second));
  }
  Deck order(codes.size());
  for (int turn = 0; turn < draft.n_turn() && !order.empty(); ++turn) {
    const auto& [key, number] = codes[order.Draw(draft.random)];
    draft.Ask(CodeQuestion(key), {number});
  }
  return Status::Ok();
}

const TaskInfo& multi_key_task() {
  static constexpr TaskInfo task = {
      .name = "multi_key",
      .summary = "one of several like keys is asked for",
      .card = "RULER multi-key needles, arXiv:2404.06654",
      .n_turn = 1,
      .n_key = 8,
      .keys = "keys in the text",
      .draft = DraftCodes,
  };
  return task;
}

}  // namespace kvasir
