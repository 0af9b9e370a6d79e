#include "kvasir/measure/tasks/runner.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "kvasir/measure/statistics.h"
#include "kvasir/measure/tasks/dialogue.h"
#include "kvasir/measure/tasks/score.h"

namespace kvasir {
namespace {

// What one case adds to the result.
struct Tally {
  std::vector<double> scores;  // by turn
  double prefill_seconds = 0, decode_seconds = 0;
  int64_t n_prefill = 0, n_decode = 0;
  int64_t kv_bytes = 0, kv_bytes_peak = 0;
  int64_t n_read_again = 0;
  std::string note;
};

class CaseRun {
 public:
  CaseRun(Engine& engine, const TaskDialogue& dialogue, const TaskRunOptions& options,
          const TaskCase& task_case)
      : engine_(engine), dialogue_(dialogue), options_(options), case_(task_case) {}

  Result<Tally> Run() {
    KVASIR_ASSIGN_OR_RETURN(const auto session, engine_.NewSession());
    KVASIR_RETURN_IF_ERROR(options_.session == SessionMode::kTurns ? Turns(*session)
                                                                   : Requests(*session));
    return std::move(tally_);
  }

 private:
  Status Turns(Session& session) {
    std::vector<TaskDialogue::Exchange> past;
    for (size_t turn = 0; turn < case_.turns.size(); ++turn) {
      const std::string& question = case_.turns[turn].question;
      std::vector<TokenId> prompt;
      if (turn == 0) {
        KVASIR_ASSIGN_OR_RETURN(auto opening, dialogue_.Open(case_.context, question));
        KVASIR_RETURN_IF_ERROR(ReadContext(session, opening));
        prompt = std::move(opening.tokens);
      } else {
        KVASIR_ASSIGN_OR_RETURN(
            prompt, dialogue_.Continue(case_.context, past, session.tokens(), question));
      }
      KVASIR_ASSIGN_OR_RETURN(std::string reply, Ask(session, prompt, turn));
      past.push_back({question, std::move(reply)});
    }
    tally_.kv_bytes = session.kv_bytes();
    return Status::Ok();
  }

  Status Requests(Session& session) {
    for (size_t turn = 0; turn < case_.turns.size(); ++turn) {
      KVASIR_ASSIGN_OR_RETURN(const auto opening,
                              dialogue_.Open(case_.context, case_.turns[turn].question));
      std::unique_ptr<Session> fork;
      if (options_.question == QuestionMode::kHidden) {
        if (turn == 0) KVASIR_RETURN_IF_ERROR(ReadContext(session, opening));
        KVASIR_ASSIGN_OR_RETURN(fork, session.Fork());
      }
      Session& asked = fork != nullptr ? *fork : session;
      KVASIR_RETURN_IF_ERROR(Ask(asked, opening.tokens, turn).status());
      tally_.kv_bytes = asked.kv_bytes();
    }
    return Status::Ok();
  }

  // Where the question is hidden.
  Status ReadContext(Session& session, const TaskDialogue::Opening& opening) {
    if (options_.question == QuestionMode::kVisible) return Status::Ok();
    n_known_ = opening.n_context;
    const auto context = std::span(opening.tokens).first(opening.n_context);
    return Generate(session, context, /*n_predict=*/0).status();
  }

  Result<std::string> Ask(Session& session, std::span<const TokenId> prompt, size_t turn) {
    const TaskTurn& asked = case_.turns[turn];
    const size_t n_held =
        std::max(n_known_,
                 turn > 0 && options_.session == SessionMode::kTurns ? session.tokens().size() : 0);
    const auto perfect = engine_.model().tokenizer->Encode(asked.answer, {});
    KVASIR_ASSIGN_OR_RETURN(
        const GenerateResult result,
        Generate(session, prompt, static_cast<int64_t>(perfect.size()) + options_.n_spare));
    if (result.n_cached < static_cast<int64_t>(n_held)) {
      if (tally_.n_read_again++ == 0) {
        tally_.note = !result.cache_note.empty()
                          ? result.cache_note
                          : "the chat template spells earlier turns in other tokens";
      }
    }
    const double score = ScoreReply(result.text, asked.expected);
    tally_.scores.push_back(score);
    if (options_.on_reply) options_.on_reply(case_, turn, result.text, score);
    return result.text;
  }

  Result<GenerateResult> Generate(Session& session, std::span<const TokenId> prompt,
                                  int64_t n_predict) {
    const auto look = [&] {
      tally_.kv_bytes_peak = std::max(tally_.kv_bytes_peak, session.kv_bytes());
      return true;
    };
    GenerateOptions wanted;
    wanted.n_predict = static_cast<int32_t>(n_predict);
    wanted.sampling.temperature = 0;
    wanted.stop = dialogue_.stops();
    wanted.prefill_progress = [&](int64_t, int64_t) { look(); };
    wanted.cancelled = options_.cancelled;
    KVASIR_ASSIGN_OR_RETURN(
        GenerateResult result,
        session.Generate(prompt, wanted, [&](const GeneratedToken&) { return look(); }));
    if (result.finish == FinishReason::kCancelled) return Status::Cancelled("tasks: cancelled");
    tally_.prefill_seconds += result.prefill_seconds;
    tally_.decode_seconds += result.decode_seconds;
    tally_.n_prefill += result.n_prompt - result.n_cached;
    tally_.n_decode += result.n_decoded;
    return result;
  }

  Engine& engine_;
  const TaskDialogue& dialogue_;
  const TaskRunOptions& options_;
  const TaskCase& case_;
  size_t n_known_ = 0;  // tokens of a context that was read on its own
  Tally tally_;
};

// A case whose conversation, perfect replies and spare tokens included, has at most the length.
Result<TaskCase> MakeCase(const Tokenizer& tokenizer, const TaskDialogue& dialogue,
                          const TaskInfo& task, uint64_t seed, const TaskRunOptions& options) {
  TaskOptions wanted = {.seed = seed,
                        .length = options.length,
                        .count =
                            [&](std::string_view text) {
                              return static_cast<int64_t>(tokenizer.Encode(text, {}).size());
                            },
                        .n_turn = options.n_turn,
                        .n_key = options.n_key,
                        .filler = options.filler};
  // What is asked does not depend on the length, so a case tells what all but the context takes; a
  // token more or less where texts meet is seen to in the next round.
  constexpr int kRounds = 4;
  for (int round = 0; round < kRounds; ++round) {
    KVASIR_ASSIGN_OR_RETURN(TaskCase made, MakeTaskCase(task, wanted));
    KVASIR_ASSIGN_OR_RETURN(int64_t n_token, dialogue.CountAll(made));
    n_token += static_cast<int64_t>(made.turns.size()) * options.n_spare;
    if (n_token <= options.length) return made;
    wanted.length = options.length - (n_token - wanted.count(made.context)) - round;
  }
  return Status::InvalidArgument(fmt::format("task {}: length {}: context and questions do not fit",
                                             task.name, options.length));
}

void Add(const Tally& tally, TaskRunResult* sum, std::vector<std::vector<double>>* by_turn) {
  by_turn->resize(std::max(by_turn->size(), tally.scores.size()));
  for (size_t turn = 0; turn < tally.scores.size(); ++turn) {
    (*by_turn)[turn].push_back(tally.scores[turn]);
  }
  sum->prefill_seconds += tally.prefill_seconds;
  sum->decode_seconds += tally.decode_seconds;
  sum->n_prefill += tally.n_prefill;
  sum->n_decode += tally.n_decode;
  sum->kv_bytes += tally.kv_bytes;
  sum->kv_bytes_peak = std::max(sum->kv_bytes_peak, tally.kv_bytes_peak);
  if (sum->n_read_again == 0) sum->note = tally.note;
  sum->n_read_again += tally.n_read_again;
}

}  // namespace

std::string_view QuestionModeName(QuestionMode mode) {
  return mode == QuestionMode::kVisible ? "visible" : "hidden";
}

std::string_view SessionModeName(SessionMode mode) {
  return mode == SessionMode::kTurns ? "turns" : "requests";
}

Result<TaskRunResult> RunTask(Engine& engine, const TaskInfo& task, const TaskRunOptions& options) {
  if (options.n_case < 1 || options.length > engine.options().n_ctx) {
    return Status::InvalidArgument(
        fmt::format("task {}: expected cases and a length up to {} (n_ctx), found {} of {}",
                    task.name, engine.options().n_ctx, options.n_case, options.length));
  }
  const Tokenizer& tokenizer = *engine.model().tokenizer;
  KVASIR_ASSIGN_OR_RETURN(const TaskDialogue dialogue, TaskDialogue::Create(engine.model()));
  TaskRunResult result = {.task = std::string(task.name),
                          .question = options.question,
                          .session = options.session,
                          .length = options.length,
                          .n_case = options.n_case};
  std::vector<double> scores;
  std::vector<std::vector<double>> by_turn;
  for (int64_t i = 0; i < options.n_case; ++i) {
    const uint64_t seed = options.first_seed + static_cast<uint64_t>(i);
    KVASIR_ASSIGN_OR_RETURN(const TaskCase made,
                            MakeCase(tokenizer, dialogue, task, seed, options));
    KVASIR_ASSIGN_OR_RETURN(const Tally tally, CaseRun(engine, dialogue, options, made).Run());
    scores.push_back(Summarize(tally.scores).mean);
    Add(tally, &result, &by_turn);
    if (options.progress) {
      options.progress({task.name, i + 1, options.n_case, Summarize(scores).mean});
    }
  }
  const Summary summary = Summarize(scores);
  result.score = summary.mean;
  result.standard_error = summary.stddev / std::sqrt(static_cast<double>(scores.size()));
  for (const auto& turn : by_turn) result.score_by_turn.push_back(Summarize(turn).mean);
  result.kv_bytes /= options.n_case;
  return result;
}

}  // namespace kvasir
