#include <fmt/format.h>

#include <vector>

#include "kvasir/measure/tasks/draft.h"

namespace kvasir {
namespace {

std::string Member(std::string_view key, std::string_view number) {
  return fmt::format("\"{}\": \"{}\"", key, number);
}

Status Draft(TaskDraft& draft) {
  std::vector<std::pair<std::string, std::string>> members;
  for (int i = 0; i < draft.n_key(); ++i) {
    members.emplace_back(draft.Key("-"), draft.Number());
    draft.AddFact(Member(members.back().first, members.back().second));
  }
  Deck order(members.size());
  for (int turn = 0; turn < draft.n_turn() && !order.empty(); ++turn) {
    const auto& [key, number] = members[order.Draw(draft.random)];
    draft.Ask(fmt::format("What is the value of \"{}\"?", key), {number});
  }
  draft.SetFrame("{", "}");
  draft.SetSeparator(",\n");
  draft.SetFiller([&draft](size_t) -> std::string {
    const std::string key = draft.Key("-"), number = draft.Number();
    return key.empty() || number.empty() ? "" : Member(key, number);
  });
  return Status::Ok();
}

}  // namespace

const TaskInfo& kv_json_task() {
  static constexpr TaskInfo task = {
      .name = "kv_json",
      .summary = "a member of a large JSON object",
      .card = "SCBench key-value retrieval, arXiv:2412.10319",
      .n_turn = 1,
      .n_key = 4,
      .keys = "members that may be asked for",
      .draft = Draft,
  };
  return task;
}

}  // namespace kvasir
