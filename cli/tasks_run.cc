#include "cli/tasks_run.h"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/args.h"
#include "cli/common_args.h"
#include "cli/generate.h"
#include "cli/interrupt.h"
#include "cli/progress.h"
#include "kvasir/measure/tasks/report.h"

namespace kvasir::cli {
namespace {

struct Mode {
  std::string_view name;
  QuestionMode question;
  SessionMode session;
};
constexpr Mode kModes[] = {
    {"visible", QuestionMode::kVisible, SessionMode::kTurns},
    {"hidden", QuestionMode::kHidden, SessionMode::kTurns},
    {"visible-requests", QuestionMode::kVisible, SessionMode::kRequests},
    {"hidden-requests", QuestionMode::kHidden, SessionMode::kRequests},
};

struct Args {
  ModelArgs model;
  ContextArgs context;
  int64_t memory = 0;
  std::vector<std::string> recipes = {"exact"};
  std::vector<std::string> tasks = {"all"};
  std::vector<std::string> modes = {"visible", "hidden"};
  std::vector<int64_t> lengths = {4096};
  int64_t count = 20;
  int64_t seed = static_cast<int64_t>(kFirstHeldOutSeed);
  int32_t n_turn = 0, n_key = 0;
  std::string output = "md";
  std::string filler;
  bool show_replies = false;
};

std::vector<std::string> ModeNames() {
  std::vector<std::string> names;
  for (const Mode& mode : kModes) names.emplace_back(mode.name);
  return names;
}

std::vector<Option> TaskOptionList(Args& args) {
  return {
      {.names = {"--task"},
       .metavar = "NAME",
       .help = "tasks to run, or all",
       .target = &args.tasks,
       .comma_list = true},
      {.names = {"--kv"},
       .metavar = "RECIPE",
       .help = "recipe of the cache; may be repeated",
       .target = &args.recipes},
      {.names = {"--mode"},
       .metavar = "MODE",
       .help = "whether the question is known when the context is compressed, and whether "
               "questions follow each other or each meets the context alone",
       .target = &args.modes,
       .choices = ModeNames(),
       .comma_list = true},
      {.names = {"--length"},
       .metavar = "N",
       .help = "tokens of a whole conversation; a list runs each",
       .target = &args.lengths,
       .min = 1},
      {.names = {"--count"},
       .metavar = "N",
       .help = "cases of each task",
       .target = &args.count,
       .min = 1},
      {.names = {"-s", "--seed"},
       .metavar = "S",
       .help = "seed of the first case; those below 2147483648 are for training",
       .target = &args.seed,
       .min = 0},
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
      {.names = {"--filler"},
       .metavar = "FILE",
       .help = "fill with the sentences of this text instead of made ones",
       .target = &args.filler},
      {.names = {"--mem"},
       .metavar = "BYTES",
       .help = "limit on weights, KV, indexes and scratch together; 0 = none",
       .target = ByteSize{&args.memory}},
      {.names = {"--show-replies"},
       .help = "every question, reply and score on stderr",
       .target = &args.show_replies},
      {.names = {"--output"},
       .metavar = "FORMAT",
       .help = "md: a table; json: an array of objects",
       .target = &args.output,
       .choices = {"md", "json"}},
  };
}

void ShowReply(const TaskCase& task_case, size_t turn, std::string_view reply, double score) {
  const TaskTurn& asked = task_case.turns[turn];
  fmt::print(stderr, "{:.2f} {} {}: {} | {} | {}\n", score, task_case.task, task_case.seed,
             asked.question, asked.answer, reply);
}

// Everything of the options but what rows differ in.
TaskRunOptions Resolve(const Args& args, const std::vector<std::string>& filler) {
  TaskRunOptions options;
  options.n_case = args.count;
  options.first_seed = static_cast<uint64_t>(args.seed);
  options.n_turn = args.n_turn;
  options.n_key = args.n_key;
  options.filler = filler;
  options.cancelled = [] { return InterruptScope::requested(); };
  if (args.show_replies) options.on_reply = ShowReply;
  return options;
}

class Output {
 public:
  explicit Output(bool as_json) : as_json_(as_json) {}
  void Add(const std::string& recipe, const TaskRunResult& result) {
    if (as_json_) {
      rows_.push_back(ToJson(recipe, result));
    } else {
      fmt::print("{}{}", n_row_++ == 0 ? TaskTableHead() : "", TaskTableRow(recipe, result));
    }
    std::fflush(stdout);
    if (!result.note.empty()) fmt::print(stderr, "{} {}: {}\n", recipe, result.task, result.note);
  }
  void End() const {
    if (as_json_) fmt::print("{}\n", rows_.dump(2));
  }

 private:
  bool as_json_;
  int64_t n_row_ = 0;
  nlohmann::ordered_json rows_ = nlohmann::ordered_json::array();
};

Status RunRecipe(const Args& args, const std::string& recipe, TaskRunOptions options,
                 std::span<const TaskInfo* const> tasks, Output& output) {
  KVASIR_ASSIGN_OR_RETURN(const auto engine, LoadEngine(args.model, args.context,
                                                        {.recipe = recipe, .memory = args.memory}));
  for (const int64_t length : args.lengths) {
    for (const TaskInfo* task : tasks) {
      for (const std::string& name : args.modes) {
        const Mode& mode = *std::find_if(std::begin(kModes), std::end(kModes),
                                         [&](const Mode& m) { return m.name == name; });
        options.length = length;
        options.question = mode.question;
        options.session = mode.session;
        ProgressBar bar(fmt::format("{} {} {}", recipe, task->name, name), ProgressUnit::kTokens);
        options.progress = [&](const TaskProgress& progress) {
          bar.Update(static_cast<uint64_t>(progress.n_done * length),
                     static_cast<uint64_t>(progress.n_case * length));
        };
        KVASIR_ASSIGN_OR_RETURN(const TaskRunResult result, RunTask(*engine, *task, options));
        output.Add(recipe, result);
      }
    }
  }
  return Status::Ok();
}

}  // namespace

Status RunTasks(std::span<const std::string> words) {
  Args args;
  ArgTable table("tasks run", "scores a model's replies to long-context tasks, recipe by recipe");
  table.Add("Tasks", TaskOptionList(args));
  table.Add("Model", ModelOptions(args.model));
  table.Add("Context", ContextOptions(args.context));
  KVASIR_ASSIGN_OR_RETURN(const bool go_on, ParseOrHelp(table, words));
  if (!go_on) return Status::Ok();
  KVASIR_ASSIGN_OR_RETURN(const auto tasks, ChooseTasks(args.tasks));
  KVASIR_ASSIGN_OR_RETURN(const std::vector<std::string> filler, ReadFiller(args.filler));
  const TaskRunOptions options = Resolve(args, filler);
  const InterruptScope interrupt;
  Output output(args.output == "json");
  for (const std::string& recipe : args.recipes) {
    KVASIR_RETURN_IF_ERROR(RunRecipe(args, recipe, options, tasks, output));
  }
  output.End();
  return Status::Ok();
}

}  // namespace kvasir::cli
