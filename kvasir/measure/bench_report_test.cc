#include "kvasir/measure/bench_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

namespace kvasir {
namespace {

using testing::HasSubstr;
using testing::Not;

const Machine kMachine = {.cpu = "Some, \"quoted\" CPU", .n_cpu = 2, .isa = "avx2"};
const BenchedModel kModel = {"dir/model.gguf", "llama 1.00B q8_0", 3u << 30, 1000000000};
// 4, 2 and 8 tokens a second; the median run moves 50 bytes a second of 200 that could be read.
BenchResult Sample() {
  BenchResult result;
  result.bench_case.n_gen = 8;
  result.bench_case.depth = 64;
  result.bench_case.n_thread = 3;
  result.fill = BenchFill::kRandom;
  result.seconds = {2, 4, 1};
  result.moved_bytes = 100;
  result.read_rate = 200;
  return result;
}

std::string Report(ReportFormat format, int n_row, const Machine& machine = kMachine) {
  BenchReport report(format, machine);
  std::string text = report.Begin();
  for (int i = 0; i < n_row; ++i) text += report.Row(kModel, Sample());
  return text + report.End();
}

std::vector<std::string> Lines(const std::string& text) {
  std::istringstream in(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

TEST(BenchReport, JsonIsAnArrayWithOneObjectARow) {
  for (const int n_row : {0, 1, 3}) {
    const auto json = nlohmann::json::parse(Report(ReportFormat::kJson, n_row));
    ASSERT_TRUE(json.is_array());
    ASSERT_EQ(json.size(), static_cast<size_t>(n_row));
  }
  const auto row = nlohmann::json::parse(Report(ReportFormat::kJson, 1))[0];
  EXPECT_EQ(row["cpu_info"], kMachine.cpu);
  EXPECT_EQ(row["test"], "tg8 @ d64");
  EXPECT_EQ(row["n_prompt"], 0);
  EXPECT_EQ(row["n_gen"], 8);
  EXPECT_EQ(row["n_depth"], 64);
  EXPECT_EQ(row["n_threads"], 3);
  EXPECT_EQ(row["fill"], "random");
  EXPECT_DOUBLE_EQ(row["avg_ts"], 14.0 / 3);
  EXPECT_DOUBLE_EQ(row["median_ts"], 4);
  EXPECT_DOUBLE_EQ(row["moved_gb_s"], 50e-9);
  EXPECT_DOUBLE_EQ(row["read_share"], 0.25);
  EXPECT_EQ(row["samples_ts"], (nlohmann::json{4, 2, 8}));
  EXPECT_EQ(row["samples_ns"], (nlohmann::json{2e9, 4e9, 1e9}));
}

// Fields of one CSV line; quotes inside quoted fields are doubled.
std::vector<std::string> Fields(const std::string& line) {
  std::vector<std::string> fields(1);
  bool quoted = false;
  for (size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '"') {
      if (quoted && i + 1 < line.size() && line[i + 1] == '"') {
        fields.back() += line[i++];
      } else {
        quoted = !quoted;
      }
    } else if (line[i] == ',' && !quoted) {
      fields.emplace_back();
    } else {
      fields.back() += line[i];
    }
  }
  return fields;
}

TEST(BenchReport, CsvHasOneHeaderAndAsManyFieldsInEveryLine) {
  const std::vector<std::string> lines = Lines(Report(ReportFormat::kCsv, 2));
  ASSERT_EQ(lines.size(), 3u);
  const std::vector<std::string> names = Fields(lines[0]), values = Fields(lines[1]);
  ASSERT_EQ(names.size(), values.size());
  EXPECT_EQ(lines[1], lines[2]);
  const auto value = [&](const std::string& name) {
    const auto at = std::find(names.begin(), names.end(), name);
    return at == names.end() ? "absent" : values[static_cast<size_t>(at - names.begin())];
  };
  EXPECT_EQ(value("cpu_info"), kMachine.cpu);
  EXPECT_EQ(value("test"), "tg8 @ d64");
  EXPECT_EQ(std::stod(value("median_ts")), 4);
}

TEST(BenchReport, TableHasAsManyCellsInEveryLine) {
  int n_line = 0;
  for (const std::string& line : Lines(Report(ReportFormat::kMarkdown, 2))) {
    if (!line.starts_with("|")) continue;
    EXPECT_EQ(std::count(line.begin(), line.end(), '|'), 13) << line;
    ++n_line;
  }
  EXPECT_EQ(n_line, 4);
}

TEST(BenchReport, TableNamesTheMachineAndMarksARandomDepth) {
  const std::string text = Report(ReportFormat::kMarkdown, 1);
  EXPECT_THAT(text, HasSubstr(kMachine.cpu));
  EXPECT_THAT(text, HasSubstr("tg8 @ d64*"));
  EXPECT_THAT(text, HasSubstr("4.67 ± 3.06"));
  EXPECT_THAT(text, HasSubstr("25 %"));
}

TEST(BenchReport, WarnsOfAssertionsOnlyWhereTheyAreOn) {
  Machine machine = kMachine;
  EXPECT_THAT(Report(ReportFormat::kMarkdown, 0, machine), Not(HasSubstr("assertions")));
  machine.assertions = true;
  EXPECT_THAT(Report(ReportFormat::kMarkdown, 0, machine), HasSubstr("warning: assertions are on"));
}

TEST(DescribeMachine, NamesWhatItRunsOn) {
  const Machine machine = DescribeMachine();
  EXPECT_FALSE(machine.cpu.empty());
  EXPECT_FALSE(machine.commit.empty());
  EXPECT_THAT(machine.flags, HasSubstr("-O"));
  EXPECT_GT(machine.n_cpu, 0);
}

}  // namespace
}  // namespace kvasir
