#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "cli/program_testing.h"
#include "kvasir/measure/tasks/task.h"
#include "kvasir/model/gguf_testing.h"

namespace kvasir::cli {
namespace {

using Json = nlohmann::ordered_json;
using testing::HasSubstr;

TEST(TasksCommand, ListsEveryTask) {
  const ProgramResult list = RunProgram({"tasks"});
  EXPECT_EQ(list.exit_code, 0);
  for (const TaskInfo* task : Tasks()) {
    EXPECT_THAT(list.out, HasSubstr(std::string(task->name)));
    EXPECT_THAT(list.out, HasSubstr(std::string(task->summary)));
  }
}

TEST(TasksCommand, MakesCasesAsJsonLines) {
  const ProgramResult made = RunProgram({"tasks", "make", "--task", "needle,multi_key", "--bytes",
                                         "1K", "--seed", "5", "--count", "2", "--turns", "3"});
  EXPECT_EQ(made.exit_code, 0) << made.err;
  std::istringstream lines(made.out);
  std::vector<std::string> seen;
  for (std::string line; std::getline(lines, line);) {
    const Json row = Json::parse(line);
    seen.push_back(row["task"].get<std::string>() + row["seed"].dump());
    EXPECT_LE(row["context"].get<std::string>().size(), 1024u);
    EXPECT_EQ(row["turns"].size(), row["task"] == "needle" ? 1u : 3u);
    EXPECT_EQ(row["turns"][0]["expected"][0], row["turns"][0]["answer"]);
  }
  EXPECT_THAT(seen, testing::ElementsAre("needle5", "multi_key5", "needle6", "multi_key6"));
}

TEST(TasksCommand, MakesPlainText) {
  const ProgramResult made =
      RunProgram({"tasks", "make", "--task", "needle", "--bytes", "300", "--format", "text"});
  EXPECT_THAT(made.out, HasSubstr("\n\nQuestion: What is the code of the "));
  EXPECT_THAT(made.out, HasSubstr("?\nAnswer: "));
}

TEST(TasksCommand, RefusesWhatItCannotMake) {
  const auto error = [](std::vector<std::string> args) {
    args.insert(args.begin(), "tasks");
    const ProgramResult result = RunProgram(args);
    EXPECT_NE(result.exit_code, 0);
    EXPECT_EQ(result.out, "");
    return result.err;
  };
  EXPECT_THAT(error({"bake"}), HasSubstr("expected nothing, make or run, found 'bake'"));
  EXPECT_THAT(error({"make", "--task", "nedle"}), HasSubstr("found 'nedle'"));
  EXPECT_THAT(error({"make", "--seed", "2147483647", "--count", "2"}), HasSubstr("found both"));
  EXPECT_THAT(error({"make", "--bytes", "10"}), HasSubstr("the facts alone have length"));
  EXPECT_THAT(error({"run", "--task", "needle"}), HasSubstr("-m"));
  EXPECT_THAT(error({"run", "--mode", "blind"}), HasSubstr("--mode"));
}

TEST(TasksCommand, RunsTasksRecipeByRecipe) {
  TemporaryDirectory directory;
  const std::string model = directory.Write("model.gguf", testing_gguf::TinyModel("tiny-llama"));
  const std::vector<std::string> args = {"tasks",    "run",
                                         "-m",       model,
                                         "--kv",     "exact",
                                         "--kv",     "q8_0",
                                         "--task",   "needle,kv_json",
                                         "--length", "400",
                                         "--count",  "2",
                                         "-t",       "1",
                                         "--mode",   "hidden-requests"};
  const ProgramResult table = RunProgram(args);
  EXPECT_EQ(table.exit_code, 0) << table.err;
  EXPECT_THAT(table.out, HasSubstr("| exact | needle | hidden | requests | 400 | 2 | "));
  EXPECT_THAT(table.out, HasSubstr("| q8_0 | kv_json | hidden | requests | 400 | 2 | "));
  std::vector<std::string> json_args = args;
  json_args.insert(json_args.end(), {"--output", "json"});
  const ProgramResult json = RunProgram(json_args);
  EXPECT_EQ(json.exit_code, 0) << json.err;
  const Json rows = Json::parse(json.out);
  ASSERT_EQ(rows.size(), 4u);
  EXPECT_LT(rows[2]["kv_bytes"], rows[0]["kv_bytes"]);
  EXPECT_EQ(rows[0]["score_by_turn"].size(), 1u);
}

}  // namespace
}  // namespace kvasir::cli
