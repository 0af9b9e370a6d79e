// The fact that most retrieval tasks hide: a number under a key.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>

#include "kvasir/measure/tasks/draft.h"

namespace kvasir {

inline std::string CodeFact(std::string_view key, std::string_view number) {
  return fmt::format("The code of the {} is {}.", key, number);
}

inline std::string CodeQuestion(std::string_view key) {
  return fmt::format("What is the code of the {}?", key);
}

// n_key facts, one of them asked for in each turn, none twice.
Status DraftCodes(TaskDraft& draft);

}  // namespace kvasir
