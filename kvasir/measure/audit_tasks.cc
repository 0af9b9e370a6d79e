#include "kvasir/measure/audit_tasks.h"

#include <fmt/format.h>

namespace kvasir {
namespace {

struct Mode {
  QuestionMode question;
  SessionMode session;
};
constexpr Mode kModes[] = {{QuestionMode::kVisible, SessionMode::kTurns},
                           {QuestionMode::kHidden, SessionMode::kTurns},
                           {QuestionMode::kHidden, SessionMode::kRequests}};

// Adds values and gives their mean.
class Mean {
 public:
  void Add(double value) {
    sum_ += value;
    ++n_;
  }
  double Get() const { return n_ > 0 ? sum_ / static_cast<double>(n_) : -1; }

 private:
  double sum_ = 0;
  int64_t n_ = 0;
};

}  // namespace

Result<std::vector<TaskRunResult>> ScoreRecipe(
    EngineOptions engine_options, const std::string& recipe, const TaskPlan& plan,
    const std::function<void(std::string_view stage, int64_t done, int64_t total)>& progress) {
  engine_options.kv = recipe;
  KVASIR_ASSIGN_OR_RETURN(const auto engine, Engine::Load(engine_options));
  std::vector<TaskRunResult> results;
  TaskRunOptions options;
  options.length = plan.length;
  options.n_case = plan.n_case;
  options.first_seed = plan.first_seed;
  for (const TaskInfo* task : plan.tasks) {
    for (const Mode& mode : kModes) {
      // A single question meets the context alone anyway.
      if (mode.session == SessionMode::kRequests && task->n_turn == 1) continue;
      options.question = mode.question;
      options.session = mode.session;
      const std::string stage =
          fmt::format("{} {} {} {}", recipe, task->name, QuestionModeName(mode.question),
                      SessionModeName(mode.session));
      if (progress) {
        options.progress = [&](const TaskProgress& at) {
          progress(stage, at.n_done * plan.length, at.n_case * plan.length);
        };
      }
      KVASIR_ASSIGN_OR_RETURN(TaskRunResult result, RunTask(*engine, *task, options));
      results.push_back(std::move(result));
    }
  }
  return results;
}

TaskMeans MeansOf(const std::vector<TaskRunResult>& results) {
  TaskMeans means;
  Mean visible, hidden, requests, first_turn, later_turns, kv_bytes;
  for (const TaskRunResult& r : results) {
    means.seconds += r.prefill_seconds + r.decode_seconds;
    kv_bytes.Add(static_cast<double>(r.kv_bytes));
    if (r.session == SessionMode::kRequests) {
      requests.Add(r.score);
    } else if (r.question == QuestionMode::kVisible) {
      visible.Add(r.score);
    } else {
      hidden.Add(r.score);
      if (r.score_by_turn.size() < 2) continue;
      first_turn.Add(r.score_by_turn.front());
      for (size_t i = 1; i < r.score_by_turn.size(); ++i) later_turns.Add(r.score_by_turn[i]);
    }
  }
  means.visible = visible.Get();
  means.hidden = hidden.Get();
  means.requests = requests.Get();
  means.first_turn = first_turn.Get();
  means.later_turns = later_turns.Get();
  means.kv_bytes = kv_bytes.Get();
  return means;
}

}  // namespace kvasir
