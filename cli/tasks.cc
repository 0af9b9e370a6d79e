#include <fmt/core.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/args.h"
#include "cli/command.h"
#include "cli/tasks_run.h"
#include "kvasir/core/join.h"
#include "kvasir/core/mapped_file.h"
#include "kvasir/measure/tasks/filler.h"
#include "kvasir/measure/tasks/task.h"
#include "kvasir/measure/tasks/transcript.h"

namespace kvasir::cli {
namespace {

constexpr std::string_view kSummary =
    "make long-context tasks with known answers, and score a model on them";

std::vector<std::string> TaskNames() {
  std::vector<std::string> names;
  for (const TaskInfo* task : Tasks()) names.emplace_back(task->name);
  return names;
}

Status List(std::span<const std::string> words) {
  ArgTable table("tasks", std::string(kSummary));
  std::vector<std::string> actions;
  table.SetPositionals({.metavar = "[make | run]",
                        .help = "make prints cases, run scores a model (each has --help); without "
                                "either the tasks are listed",
                        .target = &actions,
                        .max = 1});
  KVASIR_ASSIGN_OR_RETURN(const bool go_on, ParseOrHelp(table, words));
  if (!go_on) return Status::Ok();
  if (!actions.empty()) {
    return Status::InvalidArgument(
        fmt::format("tasks: expected nothing, make or run, found '{}'", actions.front()));
  }
  for (const TaskInfo* task : Tasks()) {
    fmt::print("  {:<16} {}\n", task->name, task->summary);
    fmt::print("  {:<16} --keys {} ({}), --turns {}{}{}\n", "", task->n_key, task->keys,
               task->n_turn, task->card.empty() ? "" : "; ", task->card);
  }
  return Status::Ok();
}

struct MakeArgs {
  std::vector<std::string> tasks = {"all"};
  int64_t bytes = 4096;
  int64_t seed = 0;
  int64_t count = 1;
  int32_t n_turn = 0, n_key = 0;
  std::string format = "jsonl";
  std::string filler;
};

std::vector<Option> MakeOptions(MakeArgs& args) {
  return {
      {.names = {"--task"},
       .metavar = "NAME",
       .help = "tasks to make, or all; cases of several tasks take turns",
       .target = &args.tasks,
       .comma_list = true},
      {.names = {"--bytes"},
       .metavar = "N",
       .help = "length of the context",
       .target = ByteSize{&args.bytes}},
      {.names = {"-s", "--seed"},
       .metavar = "S",
       .help = "seed of the first case, the next has S+1; from 2147483648 on keys are held out "
               "from training",
       .target = &args.seed,
       .min = 0},
      {.names = {"--count"},
       .metavar = "C",
       .help = "cases of each task",
       .target = &args.count,
       .min = 1},
      {.names = {"--turns"},
       .metavar = "N",
       .help = "questions on a context, at most; 0 takes the task's own number",
       .target = &args.n_turn,
       .min = 0,
       .max = 1024},
      {.names = {"--keys"},
       .metavar = "N",
       .help = "facts that look alike; 0 takes the task's own number",
       .target = &args.n_key,
       .min = 0,
       .max = 1024},
      {.names = {"--format"},
       .metavar = "FORMAT",
       .help = "jsonl: an object a line; text: plain question and answer; chat: a list of messages, "
               "as `kvasir audit` reads them",
       .target = &args.format,
       .choices = {"jsonl", "text", "chat"}},
      {.names = {"--filler"},
       .metavar = "FILE",
       .help = "fill with the sentences of this text instead of made ones",
       .target = &args.filler},
  };
}

std::string Line(const nlohmann::ordered_json& json) {
  using Json = nlohmann::ordered_json;
  return json.dump(-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace) + "\n";
}

void Print(const TaskCase& task_case, std::string_view format) {
  const std::string text = format == "text"   ? PlainTranscript(task_case)
                           : format == "chat" ? Line(ToChat(task_case))
                                              : Line(ToJson(task_case));
  std::fwrite(text.data(), 1, text.size(), stdout);
}

Status Make(std::span<const std::string> words) {
  MakeArgs args;
  ArgTable table("tasks make", "prints cases of long-context tasks");
  table.Add("Cases", MakeOptions(args));
  KVASIR_ASSIGN_OR_RETURN(const bool go_on, ParseOrHelp(table, words));
  if (!go_on) return Status::Ok();
  KVASIR_ASSIGN_OR_RETURN(const auto tasks, ChooseTasks(args.tasks));
  const auto first = static_cast<uint64_t>(args.seed);
  const uint64_t last = first + static_cast<uint64_t>(args.count) - 1;
  if (first < kFirstHeldOutSeed && last >= kFirstHeldOutSeed) {
    return Status::InvalidArgument(
        fmt::format("--seed: expected training seeds (below {}) or held-out ones, found both in "
                    "{} to {}",
                    kFirstHeldOutSeed, first, last));
  }
  KVASIR_ASSIGN_OR_RETURN(const std::vector<std::string> filler, ReadFiller(args.filler));
  TaskOptions options = {
      .length = args.bytes, .n_turn = args.n_turn, .n_key = args.n_key, .filler = filler};
  for (options.seed = first; options.seed <= last; ++options.seed) {
    for (const TaskInfo* task : tasks) {
      KVASIR_ASSIGN_OR_RETURN(const TaskCase task_case, MakeTaskCase(*task, options));
      Print(task_case, args.format);
    }
  }
  return Status::Ok();
}

Status Run(std::span<const std::string> words) {
  if (!words.empty() && words.front() == "make") return Make(words.subspan(1));
  if (!words.empty() && words.front() == "run") return RunTasks(words.subspan(1));
  return List(words);
}

}  // namespace

Result<std::vector<const TaskInfo*>> ChooseTasks(const std::vector<std::string>& names) {
  std::vector<const TaskInfo*> chosen;
  for (const std::string& name : names) {
    if (name == "all") {
      chosen.insert(chosen.end(), Tasks().begin(), Tasks().end());
    } else if (const TaskInfo* task = FindTask(name); task != nullptr) {
      chosen.push_back(task);
    } else {
      return Status::NotFound(
          fmt::format("--task: expected all or some of {}, found '{}'", Join(TaskNames()), name));
    }
  }
  return chosen;
}

Result<std::vector<std::string>> ReadFiller(const std::string& path) {
  if (path.empty()) return std::vector<std::string>();
  KVASIR_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  return SplitSentences(text);
}

const Command& tasks_command() {
  static constexpr Command command = {"tasks", kSummary, Run};
  return command;
}

}  // namespace kvasir::cli
