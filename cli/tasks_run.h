// `kvasir tasks run`.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "kvasir/measure/tasks/task.h"
#include "kvasir/status.h"

namespace kvasir::cli {

// Names of tasks, or all of them for "all". Errors: kNotFound lists the names.
Result<std::vector<const TaskInfo*>> ChooseTasks(const std::vector<std::string>& names);
// The sentences of a file; none for an empty name. Errors: those of the file.
Result<std::vector<std::string>> ReadFiller(const std::string& path);

Status RunTasks(std::span<const std::string> words);

}  // namespace kvasir::cli
