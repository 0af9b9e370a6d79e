// Cases as text for models that know no chat, as a chat, and as one JSON object for other programs.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "kvasir/measure/tasks/task.h"

namespace kvasir {

// The form, replies included:
//   CONTEXT\n\nQuestion: Q\nAnswer: A\n\nQuestion: Q\nAnswer: A\n\n
std::string PlainQuestion(std::string_view question);  // "\n\nQuestion: Q\nAnswer:"
std::string PlainTranscript(const TaskCase& task_case);

// What a user says first: context and question.
std::string FirstMessage(std::string_view context, std::string_view question);

// The conversation with perfect replies: [{"role", "content"}].
nlohmann::ordered_json ToChat(const TaskCase& task_case);

// {"task", "seed", "context", "turns": [{"question", "answer", "expected"}]}
nlohmann::ordered_json ToJson(const TaskCase& task_case);

}  // namespace kvasir
