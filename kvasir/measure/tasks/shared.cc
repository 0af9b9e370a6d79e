#include <fmt/format.h>

#include <vector>

#include "kvasir/measure/tasks/codes.h"

namespace kvasir {
namespace {

// All that the context says of one key.
struct Thing {
  std::string key, number, town, owner;

  void AddTo(TaskDraft& draft) const {
    draft.AddFact(CodeFact(key, number));
    draft.AddFact(fmt::format("The {} is kept in {}.", key, town));
    draft.AddFact(fmt::format("The {} belongs to the {}.", key, owner));
  }

  void Ask(TaskDraft& draft, size_t what) const {
    switch (what) {
      case 0: return draft.Ask(CodeQuestion(key), {number});
      case 1: return draft.Ask(fmt::format("Where is the {} kept?", key), {town});
      default: return draft.Ask(fmt::format("Who owns the {}?", key), {owner});
    }
  }
};

// Questions differ in kind and thing; each can be answered without the others.
Status Draft(TaskDraft& draft) {
  constexpr size_t kKinds = 3;
  std::vector<Thing> things;
  for (int i = 0; i < draft.n_key(); ++i) {
    things.push_back({draft.Key(), draft.Number(), std::string(draft.Pick(Towns())),
                      std::string(draft.Pick(Jobs()))});
    things.back().AddTo(draft);
  }
  Deck order(things.size() * kKinds);
  for (int turn = 0; turn < draft.n_turn() && !order.empty(); ++turn) {
    const size_t drawn = order.Draw(draft.random);
    things[drawn / kKinds].Ask(draft, drawn % kKinds);
  }
  return Status::Ok();
}

}  // namespace

const TaskInfo& shared_task() {
  static constexpr TaskInfo task = {
      .name = "shared",
      .summary = "several questions of different kinds on one context",
      .card = "SCBench shared context, arXiv:2412.10319",
      .n_turn = 4,
      .n_key = 4,
      .keys = "things of which the context tells three facts",
      .draft = Draft,
  };
  return task;
}

}  // namespace kvasir
