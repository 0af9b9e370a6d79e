// Runs tasks on a model with the engine's recipe, and scores the replies strictly.
//
// A prompt follows the model's chat template, the context and the first question being one message;
// a model without one gets the plain form of transcript.h. The tokens are the same in every mode.
// What differs is what the cache knows when its recipe acts:
//   visible   context and question are read together: prompt-end compression sees the question
//   hidden    the context is read and compressed first, then the question follows
//   turns     questions follow each other in one session, each behind the replies so far
//   requests  every question meets the context alone, as it was after being read (SCBench's other
//             mode, arXiv:2412.10319); visible: it is read anew with each question
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "kvasir/engine.h"
#include "kvasir/measure/tasks/task.h"

namespace kvasir {

enum class QuestionMode : uint8_t { kVisible, kHidden };
enum class SessionMode : uint8_t { kTurns, kRequests };
std::string_view QuestionModeName(QuestionMode mode);  // "visible", "hidden"
std::string_view SessionModeName(SessionMode mode);    // "turns", "requests"

struct TaskProgress {
  std::string_view task;
  int64_t n_done = 0, n_case = 0;  // cases
  double score = 0;                // mean of those done
};

struct TaskRunOptions {
  QuestionMode question = QuestionMode::kHidden;
  SessionMode session = SessionMode::kTurns;
  // Tokens of the whole conversation: context, template, every question and perfect reply.
  int64_t length = 4096;
  int64_t n_case = 20;
  uint64_t first_seed = kFirstHeldOutSeed;  // the next case has the next seed
  int n_turn = 0, n_key = 0;                // as in TaskOptions
  std::span<const std::string> filler = {};
  // A reply may be this many tokens longer than the perfect one.
  int64_t n_spare = 8;
  // Called after every case; may be empty.
  std::function<void(const TaskProgress&)> progress = {};
  // Asked before every chunk and token; true ends the run with kCancelled. May be empty.
  std::function<bool()> cancelled = {};
  // Called with every reply; may be empty.
  std::function<void(const TaskCase&, size_t turn, std::string_view reply, double score)> on_reply =
      {};
};

struct TaskRunResult {
  std::string task;
  QuestionMode question = QuestionMode::kHidden;
  SessionMode session = SessionMode::kTurns;
  int64_t length = 0;
  int64_t n_case = 0;
  double score = 0;                        // mean over cases of the mean over turns, in [0, 1]
  double standard_error = 0;               // of that, over cases; 0 for a single case
  std::vector<double> score_by_turn = {};  // mean over the cases that have the turn
  double prefill_seconds = 0, decode_seconds = 0;  // of all cases
  int64_t n_prefill = 0, n_decode = 0;             // tokens computed
  int64_t kv_bytes = 0;                            // at the end of a case, mean
  int64_t kv_bytes_peak = 0;  // most that a session held between chunks and tokens
  int64_t n_read_again = 0;   // questions before which tokens that the mode keeps were read anew
  std::string note = {};      // why, of the first such question; empty when there is none
};

// Errors: kInvalidArgument when the length does not fit the engine's context or the task (named);
// kCancelled; those of the session.
Result<TaskRunResult> RunTask(Engine& engine, const TaskInfo& task, const TaskRunOptions& options);

}  // namespace kvasir
