#include "kvasir/measure/tasks/task.h"

#include <fmt/format.h>

#include <algorithm>

#include "kvasir/measure/tasks/draft.h"

namespace kvasir {

#define KVASIR_TASK(name) const TaskInfo& name##_task();
#include "kvasir/measure/tasks/tasks.def"
#undef KVASIR_TASK

std::span<const TaskInfo* const> Tasks() {
  static const TaskInfo* const kTasks[] = {
#define KVASIR_TASK(name) &name##_task(),
#include "kvasir/measure/tasks/tasks.def"
#undef KVASIR_TASK
  };
  return kTasks;
}

const TaskInfo* FindTask(std::string_view name) {
  const auto tasks = Tasks();
  const auto it = std::find_if(tasks.begin(), tasks.end(),
                               [&](const TaskInfo* task) { return task->name == name; });
  return it == tasks.end() ? nullptr : *it;
}

Result<TaskCase> MakeTaskCase(const TaskInfo& task, const TaskOptions& options) {
  constexpr int kMost = 1024;  // what the pairs of every two lists suffice for
  for (const auto& [what, n] :
       {std::pair{"turns", options.n_turn}, std::pair{"keys", options.n_key}}) {
    if (n >= 0 && n <= kMost) continue;
    return Status::InvalidArgument(
        fmt::format("task {}: {}: expected 0 to {}, found {}", task.name, what, kMost, n));
  }
  TaskDraft draft(task, options);
  KVASIR_RETURN_IF_ERROR(task.draft(draft));
  return draft.Finish();
}

}  // namespace kvasir
