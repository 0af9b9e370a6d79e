// Scores of tasks as text: rows of a table, or JSON.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "kvasir/measure/tasks/runner.h"

namespace kvasir {

// A Markdown table: the head, then a row for each result.
std::string TaskTableHead();
std::string TaskTableRow(std::string_view recipe, const TaskRunResult& result);

// All fields of the result, behind "recipe".
nlohmann::ordered_json ToJson(std::string_view recipe, const TaskRunResult& result);

}  // namespace kvasir
