#include <vector>

#include "kvasir/measure/tasks/codes.h"

namespace kvasir {
namespace {

// A key a turn, so that every turn asks for another.
Status Draft(TaskDraft& draft) {
  for (int turn = 0; turn < draft.n_turn(); ++turn) {
    const std::string key = draft.Key();
    std::vector<std::string> numbers, facts;
    for (int i = 0; i < draft.n_key(); ++i) {
      numbers.push_back(draft.Number());
      facts.push_back(fmt::format("One code of the {} is {}.", key, numbers.back()));
    }
    draft.AddOrdered(std::move(facts));
    draft.Ask(fmt::format("What are all the codes of the {}?", key), std::move(numbers));
  }
  return Status::Ok();
}

}  // namespace

const TaskInfo& multi_value_task() {
  static constexpr TaskInfo task = {
      .name = "multi_value",
      .summary = "all values of one key",
      .card = "RULER multi-value needles, arXiv:2404.06654",
      .n_turn = 1,
      .n_key = 4,
      .keys = "values of a key",
      .draft = Draft,
  };
  return task;
}

}  // namespace kvasir
