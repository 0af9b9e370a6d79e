#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "cli/program_testing.h"

namespace kvasir::cli {
namespace {

using testing::HasSubstr;

const std::string kModel = std::string(KVASIR_SOURCE_DIR) + "/tests/fixtures/models/llama";

TEST(BenchCommand, ListsMultiplyIntoRowsOfJson) {
  const ProgramResult result = RunProgram({"bench", "-m", kModel, "-p", "4", "-n", "2", "-d", "0,8",
                                           "-ctk", "f16,f32", "-r", "2", "-o", "json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto rows = nlohmann::json::parse(result.out);
  ASSERT_EQ(rows.size(), 8u);
  EXPECT_EQ(rows[0]["test"], "pp4");
  EXPECT_EQ(rows[3]["test"], "tg2 @ d8");
  EXPECT_EQ(rows[3]["type_k"], "f16");
  EXPECT_EQ(rows[7]["type_k"], "f32");
  EXPECT_EQ(rows[7]["fill"], "prefill");
  EXPECT_EQ(rows[0]["samples_ts"].size(), 2u);
}

TEST(BenchCommand, SaysHowADepthWasFilled) {
  const ProgramResult result = RunProgram(
      {"bench", "-m", kModel, "-p", "0", "-n", "2", "-d", "8", "-r", "1", "--fill", "random"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("tg2 @ d8*"));
}

TEST(BenchCommand, RefusesWhatIsNotInTheLists) {
  EXPECT_THAT(RunProgram({"bench"}).err, HasSubstr("-m"));
  EXPECT_THAT(RunProgram({"bench", "-m", kModel, "-p", "4,x"}).err, HasSubstr("'x'"));
  EXPECT_THAT(RunProgram({"bench", "-m", kModel, "-p", "-4"}).err, HasSubstr("-4"));
  EXPECT_THAT(RunProgram({"bench", "-m", kModel, "-ctk", "f16,f8"}).err, HasSubstr("f8"));
  EXPECT_THAT(RunProgram({"bench", "-m", kModel, "-p", "0", "-n", "0"}).err, HasSubstr("-p"));
}

TEST(PerplexityCommand, PrintsTheEstimateWithItsError) {
  const std::string model = KVASIR_SHARED_DATA "/stories260K/stories260K.gguf";
  if (!std::filesystem::exists(model)) GTEST_SKIP() << "shared data: stories260K is absent";
  const TemporaryDirectory directory;
  const std::string text = directory.Write(
      "story.txt", "Once upon a time, there was a little girl named Lily. She loved to play.");
  const ProgramResult result = RunProgram({"perplexity", "-m", model, "-f", text, "-c", "16"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, testing::MatchesRegex("perplexity [0-9.]+ ± [0-9.]+\nmean nll [0-9.]+ of "
                                                "[0-9]+ tokens, [0-9]+ chunks of 16\n"));
  const ProgramResult short_text = RunProgram({"perplexity", "-m", model, "-f", text});
  EXPECT_NE(short_text.exit_code, 0);
  EXPECT_THAT(short_text.err, HasSubstr("a context takes 512"));
}

}  // namespace
}  // namespace kvasir::cli
