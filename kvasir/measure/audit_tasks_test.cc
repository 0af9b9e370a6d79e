#include "kvasir/measure/audit_tasks.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "kvasir/core/file_testing.h"
#include "kvasir/model/gguf_testing.h"

namespace kvasir {
namespace {

TaskRunResult MakeResult(const std::string& task, QuestionMode question, SessionMode session,
                         std::vector<double> by_turn) {
  TaskRunResult r;
  r.task = task;
  r.question = question;
  r.session = session;
  for (const double score : by_turn) r.score += score / static_cast<double>(by_turn.size());
  r.score_by_turn = std::move(by_turn);
  r.prefill_seconds = 2;
  r.decode_seconds = 1;
  r.kv_bytes = 100;
  return r;
}

TEST(MeansOf, TellsModesAndTurnsApart) {
  const TaskMeans m =
      MeansOf({MakeResult("a", QuestionMode::kVisible, SessionMode::kTurns, {1}),
               MakeResult("a", QuestionMode::kHidden, SessionMode::kTurns, {0.5}),
               MakeResult("b", QuestionMode::kVisible, SessionMode::kTurns, {1, 0}),
               MakeResult("b", QuestionMode::kHidden, SessionMode::kTurns, {0.75, 0.5, 0}),
               MakeResult("b", QuestionMode::kHidden, SessionMode::kRequests, {0.25, 0.25, 0.25})});
  EXPECT_DOUBLE_EQ(m.visible, (1 + 0.5) / 2);
  EXPECT_DOUBLE_EQ(m.hidden, (0.5 + 1.25 / 3) / 2);
  EXPECT_DOUBLE_EQ(m.requests, 0.25);
  EXPECT_DOUBLE_EQ(m.first_turn, 0.75);  // a has no second turn to compare with
  EXPECT_DOUBLE_EQ(m.later_turns, 0.25);
  EXPECT_DOUBLE_EQ(m.seconds, 15);
  EXPECT_DOUBLE_EQ(m.kv_bytes, 100);
  EXPECT_LT(MeansOf({}).requests, 0);
}

TEST(ScoreRecipe, GivesWhatTheRunnerGivesInEveryModeThatDiffers) {
  const TemporaryDirectory directory;
  EngineOptions engine_options;
  engine_options.model_path = directory.Write("model.gguf", testing_gguf::TinyModel("tiny-llama3"));
  engine_options.n_thread = 2;
  TaskPlan plan;
  plan.tasks = {FindTask("needle"), FindTask("multi_key")};
  for (const TaskInfo* task : plan.tasks) ASSERT_NE(task, nullptr);
  plan.length = 1500;
  plan.n_case = 1;
  std::string last;
  const auto results = ScoreRecipe(engine_options, "streaming:200", plan,
                                   [&](std::string_view stage, int64_t, int64_t) { last = stage; });
  ASSERT_TRUE(results.ok()) << results.status().ToString();
  EXPECT_EQ(last.substr(0, 13), "streaming:200");
  size_t n_expected = 0;
  for (const TaskInfo* task : plan.tasks) n_expected += task->n_turn > 1 ? 3 : 2;
  ASSERT_EQ(results->size(), n_expected);
  engine_options.kv = "streaming:200";
  const auto engine = Engine::Load(engine_options);
  ASSERT_TRUE(engine.ok());
  for (const TaskRunResult& r : *results) {
    TaskRunOptions options;
    options.question = r.question;
    options.session = r.session;
    options.length = plan.length;
    options.n_case = 1;
    const auto direct = RunTask(**engine, *FindTask(r.task), options);
    ASSERT_TRUE(direct.ok()) << direct.status().ToString();
    EXPECT_EQ(r.score, direct->score);
    EXPECT_EQ(r.kv_bytes, direct->kv_bytes);
    EXPECT_EQ(r.n_prefill, direct->n_prefill);
  }
}

}  // namespace
}  // namespace kvasir
