// Scores of long-context tasks, recipe by recipe.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "kvasir/engine.h"
#include "kvasir/measure/tasks/runner.h"

namespace kvasir {

struct TaskPlan {
  std::vector<const TaskInfo*> tasks = {};  // empty = no tasks
  int64_t length = 4096;                    // tokens of a whole conversation
  int64_t n_case = 5;
  uint64_t first_seed = kFirstHeldOutSeed;
};

// Every task with the question visible and hidden while the recipe acts, its questions one after
// the other; and, for tasks of several questions, each alone with the hidden context.
// `engine` says where the model is and how it is run; its recipe is replaced. `progress`: the task
// and its mode, tokens done and in all; may be empty.
// Errors: those of Engine::Load and RunTask.
Result<std::vector<TaskRunResult>> ScoreRecipe(
    EngineOptions engine, const std::string& recipe, const TaskPlan& plan,
    const std::function<void(std::string_view stage, int64_t done, int64_t total)>& progress);

// What a line about tasks says of a recipe: means over tasks, each in [0, 1]; negative where there
// is nothing to take the mean of.
struct TaskMeans {
  double visible = -1, hidden = -1;  // questions one after the other
  double requests = -1;              // each alone, hidden
  double first_turn = -1;            // of tasks with several questions, hidden
  double later_turns = -1;
  double seconds = 0;   // of everything
  double kv_bytes = 0;  // at the end of a case, mean
};
TaskMeans MeansOf(const std::vector<TaskRunResult>& results);

}  // namespace kvasir
