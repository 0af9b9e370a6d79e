#include <fmt/format.h>

#include <vector>

#include "kvasir/core/join.h"
#include "kvasir/measure/tasks/draft.h"

namespace kvasir {
namespace {

constexpr int kWords = 16, kGroup = 4;  // scored in groups of words that follow each other

Status Draft(TaskDraft& draft) {
  std::vector<std::pair<std::string, std::vector<std::string>>> passages;
  for (int i = 0; i < draft.n_key(); ++i) {
    const std::string key = draft.Key();
    std::vector<std::string> groups(kWords / kGroup);
    Deck deck(KeyNouns().size());
    for (int word = 0; word < kWords; ++word) {
      std::string& group = groups[static_cast<size_t>(word / kGroup)];
      if (!group.empty()) group += ' ';
      group += KeyNouns()[deck.Draw(draft.random)];
    }
    draft.AddFact(fmt::format("The words of the {} are: {}.", key, Join(groups, " ")));
    passages.emplace_back(key, std::move(groups));
  }
  Deck order(passages.size());
  for (int turn = 0; turn < draft.n_turn() && !order.empty(); ++turn) {
    auto& [key, groups] = passages[order.Draw(draft.random)];
    std::string answer = Join(groups, " ");
    draft.Ask(fmt::format("Repeat the words of the {}.", key), std::move(groups), answer);
  }
  return Status::Ok();
}

}  // namespace

const TaskInfo& copy_task() {
  static constexpr TaskInfo task = {
      .name = "copy",
      .summary = "a marked passage of sixteen words, word for word",
      .card = "",
      .n_turn = 1,
      .n_key = 1,
      .keys = "passages",
      .draft = Draft,
  };
  return task;
}

}  // namespace kvasir
