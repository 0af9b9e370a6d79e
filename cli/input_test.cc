#include "cli/input.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "cli/interrupt.h"
#include "cli/program_testing.h"

namespace kvasir::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(ParseTokenIds, TakesSpacesAndCommas) {
  const auto ids = ParseTokenIds("--tokens", " 1, 2 3\n,4 ", 5);
  ASSERT_TRUE(ids.ok());
  EXPECT_THAT(*ids, ElementsAre(1, 2, 3, 4));
}

TEST(ParseTokenIds, NamesTheWordOrTheIdThatIsWrong) {
  EXPECT_EQ(ParseTokenIds("--tokens", "1 2 9", 5).status().message(),
            "--tokens: expected ids from 0 to 4, found 9 at index 2");
  EXPECT_EQ(ParseTokenIds("--tokens", "-1", 5).status().message(),
            "--tokens: expected ids from 0 to 4, found -1 at index 0");
  EXPECT_EQ(ParseTokenIds("--tokens", "1 2x", 5).status().message(),
            "--tokens: expected token ids, found '2x' at index 1");
  EXPECT_EQ(ParseTokenIds("--tokens", " ", 5).status().message(),
            "--tokens: expected token ids, found none");
}

TEST(ReadPrompt, TakesTheTextOfPOrTheFileOfF) {
  TemporaryDirectory directory;
  PromptArgs args;
  EXPECT_EQ(*ReadPrompt(args, true), "");
  args.prompt = "a\\nb";
  EXPECT_EQ(*ReadPrompt(args, true), "a\nb");
  args.escape = false;
  EXPECT_EQ(*ReadPrompt(args, true), "a\\nb");
  args.file = directory.Write("prompt.txt", "from \\n a file\n");
  EXPECT_THAT(ReadPrompt(args, true).status().message(), HasSubstr("found both"));
  args.escape = true;
  EXPECT_EQ(*ReadPrompt(args, false), "from \\n a file\n");
  args.file = directory.Path("absent.txt");
  EXPECT_EQ(ReadPrompt(args, false).status().code(), StatusCode::kNotFound);
}

// The reading end of a pipe that holds `text` and is at its end.
int PipeWith(const std::string& text) {
  int ends[2];
  EXPECT_EQ(pipe(ends), 0);
  EXPECT_EQ(write(ends[1], text.data(), text.size()), static_cast<ssize_t>(text.size()));
  close(ends[1]);
  return ends[0];
}

TEST(LineReader, GivesLinesAndJoinsThoseThatEndInABackslash) {
  const int fd = PipeWith("one\n\ntwo\\\nthree\nlast");
  LineReader reader(fd);
  std::vector<std::string> lines;
  std::string line;
  while (reader.Next(&line) == LineReader::Outcome::kLine) lines.push_back(line);
  EXPECT_THAT(lines, ElementsAre("one", "", "two\nthree", "last"));
  EXPECT_EQ(reader.Next(&line), LineReader::Outcome::kEnd);
  close(fd);
}

TEST(ReadAll, StopsAtItsLimit) {
  int fd = PipeWith("12345");
  EXPECT_EQ(*ReadAll(fd, "pipe", 5), "12345");
  close(fd);
  fd = PipeWith("123456");
  EXPECT_EQ(ReadAll(fd, "pipe", 5).status().message(),
            "pipe: expected at most 5 bytes, found more");
  close(fd);
}

TEST(InterruptScope, TurnsCtrlCIntoAFlagOnce) {
  InterruptScope scope;
  EXPECT_FALSE(InterruptScope::requested());
  raise(SIGINT);
  EXPECT_TRUE(InterruptScope::requested());
  InterruptScope::Clear();
  EXPECT_FALSE(InterruptScope::requested());
  raise(SIGINT);
  EXPECT_EXIT(raise(SIGINT), ::testing::KilledBySignal(SIGINT), "");
}

TEST(InterruptScope, LetsAWaitingReaderGo) {
  InterruptScope scope;
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  // The alarm's handler only interrupts the read.
  struct sigaction action {
  }, before{};
  action.sa_handler = [](int) { raise(SIGINT); };
  sigaction(SIGALRM, &action, &before);
  ualarm(20000, 0);
  LineReader reader(ends[0]);
  std::string line;
  EXPECT_EQ(reader.Next(&line), LineReader::Outcome::kInterrupted);
  EXPECT_TRUE(InterruptScope::requested());
  sigaction(SIGALRM, &before, nullptr);
  close(ends[0]);
  close(ends[1]);
}

TEST(Program, ListsItsCommandsAndRefusesUnknownOnes) {
  const ProgramResult help = RunProgram({"help"});
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_THAT(help.out, HasSubstr("version"));
  EXPECT_EQ(help.err, "");
  const ProgramResult unknown = RunProgram({"fly"});
  EXPECT_EQ(unknown.exit_code, 2);
  EXPECT_THAT(unknown.err, HasSubstr("unknown command 'fly'"));
}

}  // namespace
}  // namespace kvasir::cli
