#include "kvasir/measure/tasks/transcript.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace kvasir {

std::string PlainQuestion(std::string_view question) {
  return fmt::format("\n\nQuestion: {}\nAnswer:", question);
}

std::string PlainTranscript(const TaskCase& task_case) {
  std::string text = task_case.context;
  for (const TaskTurn& turn : task_case.turns) {
    text += PlainQuestion(turn.question) + " " + turn.answer;
  }
  return text + "\n\n";
}

std::string FirstMessage(std::string_view context, std::string_view question) {
  return fmt::format("{}\n\n{}", context, question);
}

nlohmann::ordered_json ToChat(const TaskCase& task_case) {
  auto messages = nlohmann::ordered_json::array();
  for (const TaskTurn& turn : task_case.turns) {
    const std::string asked =
        messages.empty() ? FirstMessage(task_case.context, turn.question) : turn.question;
    messages.push_back({{"role", "user"}, {"content", asked}});
    messages.push_back({{"role", "assistant"}, {"content", turn.answer}});
  }
  return messages;
}

nlohmann::ordered_json ToJson(const TaskCase& task_case) {
  auto turns = nlohmann::ordered_json::array();
  for (const TaskTurn& turn : task_case.turns) {
    turns.push_back(
        {{"question", turn.question}, {"answer", turn.answer}, {"expected", turn.expected}});
  }
  return {{"task", task_case.task},
          {"seed", task_case.seed},
          {"context", task_case.context},
          {"turns", std::move(turns)}};
}

}  // namespace kvasir
