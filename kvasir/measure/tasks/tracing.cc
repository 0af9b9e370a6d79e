#include <fmt/format.h>

#include <vector>

#include "kvasir/measure/tasks/draft.h"

namespace kvasir {
namespace {

constexpr int kNames = 4;  // of a chain

struct Chain {
  std::string number;
  std::vector<std::string> names;
};

Chain AddChain(TaskDraft& draft) {
  Chain chain{.number = draft.Number(), .names = {}};
  std::vector<std::string> facts;
  for (int i = 0; i < kNames; ++i) {
    const std::string name = draft.Noun();
    facts.push_back(fmt::format("Let {} be {}.", name, i == 0 ? chain.number : chain.names.back()));
    chain.names.push_back(name);
  }
  draft.AddOrdered(std::move(facts));
  return chain;
}

// Turns take the chains in order, each first forward and then, in the next turn, backward.
Status Draft(TaskDraft& draft) {
  std::vector<Chain> chains;
  for (int i = 0; i < draft.n_key(); ++i) chains.push_back(AddChain(draft));
  for (int turn = 0; turn < std::min(draft.n_turn(), 2 * draft.n_key()); ++turn) {
    const Chain& chain = chains[static_cast<size_t>(turn / 2)];
    if (turn % 2 == 0) {
      draft.Ask(fmt::format("Which names are {}?", chain.number), chain.names);
    } else {
      draft.Ask(fmt::format("Which number is {}?", chain.names.back()), {chain.number});
    }
  }
  return Status::Ok();
}

}  // namespace

const TaskInfo& tracing_task() {
  static constexpr TaskInfo task = {
      .name = "tracing",
      .summary = "names that are set to each other in a chain, back to a number",
      .card = "RULER variable tracking, arXiv:2404.06654",
      .n_turn = 1,
      .n_key = 2,
      .keys = "chains of four names",
      .draft = Draft,
  };
  return task;
}

}  // namespace kvasir
