#include "kvasir/measure/tasks/runner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "kvasir/core/file_testing.h"
#include "kvasir/measure/tasks/dialogue.h"
#include "kvasir/measure/tasks/score.h"
#include "kvasir/measure/tasks/transcript.h"
#include "kvasir/model/gguf_testing.h"

namespace kvasir {
namespace {

using testing::HasSubstr;
using testing_gguf::Rewrite;
using testing_gguf::TinyModel;

constexpr int64_t kLength = 700;

class TaskRunner : public testing::Test {
 protected:
  // With the template given, or as the model is.
  std::string Model(const char* chat_template = nullptr) {
    std::string bytes = TinyModel("tiny-llama");
    if (chat_template != nullptr) {
      bytes =
          Rewrite(bytes, {.drop_keys = {"tokenizer.chat_template"}, .add = [&](GgufWriter& writer) {
                            if (*chat_template == '\0') return;
                            writer.AddString("tokenizer.chat_template", chat_template);
                          }});
    }
    return directory_.Write("model.gguf", bytes);
  }
  static std::shared_ptr<Engine> Load(const std::string& path, const std::string& kv = "exact") {
    auto engine = Engine::Load({.model_path = path, .n_thread = 1, .n_ctx = kLength, .kv = kv});
    EXPECT_TRUE(engine.ok()) << engine.status().ToString();
    return *engine;
  }
  static TaskRunOptions Options(QuestionMode question, SessionMode session) {
    TaskRunOptions options;
    options.question = question;
    options.session = session;
    options.length = kLength;
    options.n_case = 2;
    options.n_turn = 3;
    return options;
  }
  struct Run {
    TaskRunResult result;
    std::vector<std::string> replies;
    std::vector<double> scores;
  };
  static Run RunShared(Engine& engine, TaskRunOptions options) {
    Run run;
    options.on_reply = [&](const TaskCase& made, size_t turn, std::string_view reply,
                           double score) {
      EXPECT_EQ(score, ScoreReply(reply, made.turns[turn].expected));
      run.replies.emplace_back(reply);
      run.scores.push_back(score);
    };
    auto result = RunTask(engine, *FindTask("shared"), options);
    EXPECT_TRUE(result.ok()) << result.status().ToString();
    if (result.ok()) run.result = *result;
    return run;
  }

  TemporaryDirectory directory_;
};

constexpr QuestionMode kQuestions[] = {QuestionMode::kVisible, QuestionMode::kHidden};

TEST_F(TaskRunner, GivesTheSameRepliesInEveryQuestionModeWhileTheCacheIsExact) {
  for (const char* chat_template : {static_cast<const char*>(nullptr), ""}) {
    const auto engine = Load(Model(chat_template));
    for (const SessionMode session : {SessionMode::kTurns, SessionMode::kRequests}) {
      const Run visible = RunShared(*engine, Options(QuestionMode::kVisible, session));
      const Run hidden = RunShared(*engine, Options(QuestionMode::kHidden, session));
      EXPECT_EQ(visible.replies.size(), 6u);
      EXPECT_EQ(visible.replies, hidden.replies);
      EXPECT_EQ(hidden.result.n_read_again, 0) << hidden.result.note;
      EXPECT_EQ(hidden.result.note, "");
    }
  }
}

TEST_F(TaskRunner, AnswersTheFirstQuestionAlikeInTurnsAndRequests) {
  const auto engine = Load(Model(), "snapkv:64");
  for (const QuestionMode question : kQuestions) {
    const Run turns = RunShared(*engine, Options(question, SessionMode::kTurns));
    const Run requests = RunShared(*engine, Options(question, SessionMode::kRequests));
    ASSERT_EQ(turns.replies.size(), 6u);
    ASSERT_EQ(requests.replies.size(), 6u);
    EXPECT_EQ(turns.replies[0], requests.replies[0]);
    EXPECT_EQ(turns.replies[3], requests.replies[3]);
    EXPECT_EQ(requests.result.n_read_again, 0) << requests.result.note;
  }
}

// What the header says of the modes, done by hand.
TEST_F(TaskRunner, HidesTheQuestionWhileTheContextIsCompressed) {
  const auto engine = Load(Model(), "snapkv:64");
  TaskRunOptions options = Options(QuestionMode::kHidden, SessionMode::kRequests);
  options.n_case = 1;
  options.n_spare = 30;
  std::vector<std::string> by_hand;
  int64_t n_prefill = 0;
  const auto dialogue = TaskDialogue::Create(engine->model());
  ASSERT_TRUE(dialogue.ok());
  options.on_reply = [&](const TaskCase& made, size_t turn, std::string_view reply, double) {
    const auto opening = dialogue->Open(made.context, made.turns[turn].question);
    const auto session = std::move(*engine->NewSession());
    GenerateOptions greedy;
    greedy.sampling.temperature = 0;
    greedy.n_predict = 0;
    ASSERT_TRUE(
        session->Generate(std::span(opening->tokens).first(opening->n_context), greedy).ok());
    greedy.n_predict = static_cast<int32_t>(
        engine->model().tokenizer->Encode(made.turns[turn].answer, {}).size() + 30);
    EXPECT_EQ(session->Generate(opening->tokens, greedy)->text, reply);
    n_prefill += static_cast<int64_t>(opening->tokens.size());
    if (turn > 0) n_prefill -= static_cast<int64_t>(opening->n_context);
  };
  const auto result = RunTask(*engine, *FindTask("shared"), options);
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  EXPECT_EQ(result->n_prefill, n_prefill) << "the context is read once";
}

TEST_F(TaskRunner, HoldsLessWithARecipeThatEvicts) {
  const std::string path = Model();
  const auto options = Options(QuestionMode::kHidden, SessionMode::kTurns);
  const Run exact = RunShared(*Load(path), options);
  const Run streaming = RunShared(*Load(path, "streaming:64"), options);
  EXPECT_LT(streaming.result.kv_bytes, exact.result.kv_bytes / 3);
  EXPECT_GE(streaming.result.kv_bytes_peak, streaming.result.kv_bytes);
}

TEST_F(TaskRunner, SaysWhyTurnsWereReadAgain) {
  // Earlier replies never reach the prompt.
  const auto engine = Load(Model(
      "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}"));
  const Run run = RunShared(*engine, Options(QuestionMode::kVisible, SessionMode::kTurns));
  EXPECT_EQ(run.result.n_read_again, 4);
  EXPECT_THAT(run.result.note, HasSubstr("the chat template spells earlier turns"));
}

TEST_F(TaskRunner, AveragesTurnsAndThenCases) {
  const auto engine = Load(Model());
  const Run run = RunShared(*engine, Options(QuestionMode::kVisible, SessionMode::kTurns));
  ASSERT_EQ(run.scores.size(), 6u);
  double cases[2] = {};
  for (size_t i = 0; i < 6; ++i) cases[i / 3] += run.scores[i] / 3;
  EXPECT_DOUBLE_EQ(run.result.score, (cases[0] + cases[1]) / 2);
  EXPECT_DOUBLE_EQ(run.result.standard_error, std::abs(cases[0] - cases[1]) / 2);
  EXPECT_EQ(run.result.score_by_turn.size(), 3u);
}

TEST_F(TaskRunner, RefusesWhatDoesNotFitAndStopsWhenAsked) {
  const auto engine = Load(Model());
  const TaskInfo& task = *FindTask("needle");
  EXPECT_THAT(RunTask(*engine, task, {.length = kLength + 1}).status().message(),
              HasSubstr("a length up to 700 (n_ctx), found 20 of 701"));
  EXPECT_THAT(RunTask(*engine, task, {.length = 20}).status().message(), HasSubstr("task needle"));
  EXPECT_EQ(
      RunTask(*engine, task, {.length = kLength, .cancelled = [] { return true; }}).status().code(),
      StatusCode::kCancelled);
}

TEST_F(TaskRunner, TellsItsProgress) {
  const auto engine = Load(Model());
  std::vector<int64_t> done;
  TaskRunOptions options = {.length = 300, .n_case = 3};
  options.progress = [&](const TaskProgress& progress) {
    EXPECT_EQ(progress.n_case, 3);
    done.push_back(progress.n_done);
  };
  const auto result = RunTask(*engine, *FindTask("needle"), options);
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  EXPECT_THAT(done, testing::ElementsAre(1, 2, 3));
}

using TaskDialogues = TaskRunner;

TEST_F(TaskDialogues, ContinueAsTheTemplateWouldFromTheStart) {
  const auto engine = Load(Model());
  const auto dialogue = TaskDialogue::Create(engine->model());
  ASSERT_TRUE(dialogue.ok());
  const auto opening = dialogue->Open("A context.", "One?");
  std::vector<TokenId> held = opening->tokens;
  const auto reply = engine->model().tokenizer->Encode("1234", {});
  held.insert(held.end(), reply.begin(), reply.end());
  const TaskDialogue::Exchange past[] = {{"One?", "1234"}};
  const auto next = dialogue->Continue("A context.", past, held, "Two?");
  ASSERT_TRUE(next.ok());
  Conversation whole = [&] {
    auto compiled = ChatTemplate::Compile(engine->model().chat_template,
                                          ChatTextsOf(*engine->model().tokenizer));
    return Conversation(engine->model(), std::move(*compiled));
  }();
  whole.Add("user", "A context.\n\nOne?");
  whole.Add("assistant", "1234");
  whole.Add("user", "Two?");
  EXPECT_EQ(*next, *whole.Prompt());
}

TEST_F(TaskDialogues, AgreeOnTheTokensBeforeTheQuestion) {
  for (const char* chat_template : {static_cast<const char*>(nullptr), ""}) {
    const auto engine = Load(Model(chat_template));
    const auto dialogue = TaskDialogue::Create(engine->model());
    ASSERT_TRUE(dialogue.ok());
    const auto a = dialogue->Open("A long context.", "What is this?");
    const auto b = dialogue->Open("A long context.", "Where are you?");
    ASSERT_EQ(a->n_context, b->n_context);
    ASSERT_GT(a->n_context, 4u);
    EXPECT_TRUE(std::equal(a->tokens.begin(), a->tokens.begin() + a->n_context, b->tokens.begin()));
    EXPECT_THAT(*engine->Detokenize(std::span(a->tokens).first(a->n_context)),
                HasSubstr("A long context."));
    EXPECT_THAT(*engine->Detokenize(std::span(a->tokens).subspan(a->n_context)),
                HasSubstr("What is this?"));
  }
}

}  // namespace
}  // namespace kvasir
