// Cases as text for models that know no chat, and as one JSON object for other programs.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "kvasir/measure/tasks/task.h"

namespace kvasir {

// The form, replies included:
//   CONTEXT\n\nQuestion: Q\nAnswer: A\n\nQuestion: Q\nAnswer: A\n\n
std::string PlainQuestion(std::string_view question);  // "\n\nQuestion: Q\nAnswer:"
std::string PlainTranscript(const TaskCase& task_case);

// {"task", "seed", "context", "turns": [{"question", "answer", "expected"}]}
nlohmann::ordered_json ToJson(const TaskCase& task_case);

}  // namespace kvasir
