// The model that ships with the project, through the program: what its card promises, in small.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "cli/program_testing.h"

namespace kvasir::cli {
namespace {

using testing::HasSubstr;

const std::string kModel = std::string(KVASIR_SOURCE_DIR) + "/models/kvasir-ref.gguf";

// A held-out case, as `kvasir tasks make` prints it.
nlohmann::json MakeCase(const std::string& bytes) {
  const ProgramResult made = RunProgram({"tasks", "make", "--task", "needle", "--bytes", bytes,
                                         "--seed", "2147484777", "--turns", "1"});
  EXPECT_EQ(made.exit_code, 0) << made.err;
  return nlohmann::json::parse(made.out);
}

TEST(ReferenceModel, FindsANeedleWhetherOrNotTheQuestionIsKnown) {
  const ProgramResult run =
      RunProgram({"tasks", "run", "-m", kModel, "--task", "needle", "--length", "2048", "--count",
                  "3", "--mode", "visible,hidden", "--output", "json"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const auto rows = nlohmann::json::parse(run.out);
  ASSERT_EQ(rows.size(), 2u);
  for (const auto& row : rows) EXPECT_EQ(row["score"], 1.0) << row;
}

TEST(ReferenceModel, AnswersFromADocumentThatTheExactCacheCannotHold) {
  const TemporaryDirectory directory;
  const nlohmann::json made = MakeCase("30000");
  const std::string document = directory.Write("document.txt", made["context"].get<std::string>());
  const auto chat = [&](const std::string& recipe) {
    return RunProgram({"chat", "-m", kModel, "-f", document, "-p",
                       made["turns"][0]["question"].get<std::string>(), "-n", "12", "--temp", "0",
                       "--mem", "38M", "--kv", recipe});
  };
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  const ProgramResult exact = chat("exact");
  EXPECT_NE(exact.exit_code, 0);
  EXPECT_THAT(exact.err, HasSubstr("of KV with --kv exact"));
  const ProgramResult small = chat("q8_0");
  ASSERT_EQ(small.exit_code, 0) << small.err;
  EXPECT_THAT(small.out, HasSubstr(made["turns"][0]["answer"].get<std::string>()));
#endif
}

TEST(ReferenceModel, ChatSaysThatADocumentIsAbsent) {
  const ProgramResult result =
      RunProgram({"chat", "-m", kModel, "-f", "/absent/document", "-p", "x"});
  EXPECT_NE(result.exit_code, 0);
  EXPECT_THAT(result.err, HasSubstr("/absent/document"));
}

}  // namespace
}  // namespace kvasir::cli
