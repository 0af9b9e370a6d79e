#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/program_testing.h"

namespace kvasir::cli {
namespace {

using ::testing::HasSubstr;

const std::string kFolder = std::string(KVASIR_SOURCE_DIR) + "/tests/fixtures/tokenizers/llama3";

ProgramResult Tokenize(std::vector<std::string> flags, const std::string& input) {
  std::vector<std::string> args = {"tokenize", "-m", kFolder};
  args.insert(args.end(), flags.begin(), flags.end());
  return RunProgram(args, input);
}

TEST(Tokenize, PrintsIdsOnOneLineAndTurnsThemBackIntoTheSameBytes) {
  const std::string text = "The cache\n\n is exact. \xC3\xA9\xFF\n";
  const ProgramResult ids = Tokenize({}, text);
  EXPECT_EQ(ids.exit_code, 0) << ids.err;
  EXPECT_EQ(ids.out.find('\n'), ids.out.size() - 1);
  const ProgramResult back = Tokenize({"--decode"}, ids.out);
  EXPECT_EQ(back.exit_code, 0) << back.err;
  EXPECT_EQ(back.out, text);
}

TEST(Tokenize, AddsBosAndParsesControlTokensOnlyWhenAsked) {
  EXPECT_EQ(Tokenize({"--bos"}, "").out, "600\n");
  EXPECT_EQ(Tokenize({"--special"}, "<|end|>").out, "601\n");
  EXPECT_THAT(Tokenize({}, "<|end|>").out, ::testing::Not(HasSubstr("601")));
  EXPECT_EQ(Tokenize({"--decode"}, "601").out, "");
  EXPECT_EQ(Tokenize({"--decode", "--special"}, "601").out, "<|end|>");
  EXPECT_EQ(Tokenize({"--pieces", "--special"}, "<|end|>").out, "601\t<|end|>\n");
}

TEST(Tokenize, TakesNoTextAndNoIds) {
  EXPECT_EQ(Tokenize({}, "").out, "\n");
  const ProgramResult none = Tokenize({"--decode"}, "\n");
  EXPECT_EQ(none.exit_code, 0);
  EXPECT_EQ(none.out, "");
}

TEST(Tokenize, NamesWhatIsWrong) {
  const ProgramResult range = Tokenize({"--decode"}, "1 99999");
  EXPECT_EQ(range.exit_code, 2);
  EXPECT_THAT(range.err, HasSubstr("99999 at index 1"));
  EXPECT_EQ(RunProgram({"tokenize"}, "").exit_code, 2);
  const ProgramResult absent = RunProgram({"tokenize", "-m", "/no/such/model"}, "");
  EXPECT_EQ(absent.exit_code, 1);
  EXPECT_THAT(absent.err, HasSubstr("/no/such/model"));
}

}  // namespace
}  // namespace kvasir::cli
