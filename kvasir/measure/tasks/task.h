// Long-context tasks: seeded cases of a context, questions about it and the only right answers.
//
// A case is made of facts, which the questions ask for, and of filler, which fills the context up
// to the length asked for. Facts stand at uniformly drawn depths. Every answer follows from the
// context alone. All randomness is our own, so a seed gives the same bytes on every machine.
//
// Seeds below 2^31 are for training, all others are held out. The two never share a key: of the
// pairs (adjective i, noun j), and of first and last names alike, those with (i + j) % 4 == 3 are
// held out, as are single key nouns with j % 4 == 3. A held-out key thus has known words, but no
// training case ever held it. Values are drawn freely.
//
// Adding a task: one file that defines `const TaskInfo& NAME_task()` and one line in tasks.def.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kvasir/status.h"

namespace kvasir {

inline constexpr uint64_t kFirstHeldOutSeed = uint64_t{1} << 31;

struct TaskTurn {
  std::string question;
  std::string answer;                 // the whole of a perfect reply
  std::vector<std::string> expected;  // what strict scoring wants to find; see score.h
};

struct TaskCase {
  std::string task;
  uint64_t seed = 0;
  std::string context;
  std::vector<TaskTurn> turns;  // at least one; all about the same context
};

struct TaskOptions {
  uint64_t seed = 0;
  // The context is as long as whole units of filler allow without passing this.
  int64_t length = 4096;
  // Length of a text, growing with the text; empty: bytes.
  std::function<int64_t(std::string_view)> count = {};
  int n_turn = 0;  // at most; a task with fewer questions asks those. 0 = the task's default
  int n_key = 0;   // facts that look alike; 0 = the task's default
  // Sentences to fill with, taken in order from a drawn place; empty: the grammar of filler.h.
  std::span<const std::string> filler = {};
};

class TaskDraft;

struct TaskInfo {
  std::string_view name;
  std::string_view summary;  // one line
  std::string_view card;     // the published task that it follows, with its source
  int n_turn = 1;            // defaults
  int n_key = 1;
  std::string_view keys;  // what n_key counts
  Status (*draft)(TaskDraft& draft) = nullptr;
};

// All tasks, in the order of tasks.def.
std::span<const TaskInfo* const> Tasks();
// Null when there is none.
const TaskInfo* FindTask(std::string_view name);

// Errors: kInvalidArgument when the facts alone pass the length (both figures are given), when the
// word lists have fewer keys than asked for, or when an option is out of range.
Result<TaskCase> MakeTaskCase(const TaskInfo& task, const TaskOptions& options);

}  // namespace kvasir
