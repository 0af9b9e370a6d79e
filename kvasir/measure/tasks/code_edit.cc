#include <fmt/format.h>

#include <memory>
#include <vector>

#include "kvasir/measure/tasks/draft.h"

namespace kvasir {
namespace {

std::string Function(std::string_view name, std::string_view body) {
  return fmt::format("def {}(x):\n    return {}", name, body);
}

std::string Call(std::string_view name, std::string_view number) {
  return fmt::format("{}(x) + {}", name, number);
}

struct Dependency {
  std::string callee, number, new_name;
};

// A function and, behind it, the only one that calls it.
Dependency AddDependency(TaskDraft& draft, PairDeck& names) {
  const auto name = [&] { return names.Draw(draft.random, "_"); };
  const Dependency dependency{.callee = name(), .number = draft.Number(), .new_name = name()};
  draft.AddOrdered({Function(dependency.callee, "x * " + draft.Number()),
                    Function(name(), Call(dependency.callee, dependency.number))});
  return dependency;
}

// Filler are pairs of the same form, so that only the name tells which line to change.
Status Draft(TaskDraft& draft) {
  auto names = std::make_shared<PairDeck>(Verbs(), KeyNouns(), draft.held_out());
  std::vector<Dependency> dependencies;
  for (int i = 0; i < draft.n_key(); ++i) dependencies.push_back(AddDependency(draft, *names));
  Deck order(dependencies.size());
  for (int turn = 0; turn < draft.n_turn() && !order.empty(); ++turn) {
    const Dependency& chosen = dependencies[order.Draw(draft.random)];
    draft.Ask(fmt::format("The function {} is renamed to {}. Write the changed line that calls it.",
                          chosen.callee, chosen.new_name),
              {"return " + Call(chosen.new_name, chosen.number)});
  }
  draft.SetSeparator("\n\n");
  auto callee = std::make_shared<std::string>();
  draft.SetFiller([&draft, names, callee](size_t index) -> std::string {
    const std::string number = draft.Number();
    if (names->empty() || number.empty()) return {};
    const std::string name = names->Draw(draft.fill_random, "_");
    const bool calls = index % 2 == 1;
    const std::string body = calls ? Call(*callee, number) : "x * " + number;
    *callee = name;
    return Function(name, body);
  });
  return Status::Ok();
}

}  // namespace

const TaskInfo& code_edit_task() {
  static constexpr TaskInfo task = {
      .name = "code_edit",
      .summary = "a renamed function and the distant line that must follow",
      .card = "",
      .n_turn = 1,
      .n_key = 4,
      .keys = "functions that may be renamed",
      .draft = Draft,
  };
  return task;
}

}  // namespace kvasir
