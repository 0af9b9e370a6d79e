// `run`, `chat` and `logits` through the built program, on a published model of 260K parameters.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <string>
#include <vector>

#include "cli/program_testing.h"

namespace kvasir::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::MatchesRegex;
using ::testing::Not;
using ::testing::StartsWith;

const std::string kFolder = KVASIR_SHARED_DATA "/stories260K/";
const std::string kModel = kFolder + "stories260K.gguf";

class Program : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(kModel)) GTEST_SKIP() << kModel << " is absent";
  }

  // Greedy, so that results can be compared.
  static ProgramResult Greedy(std::string command, std::vector<std::string> flags,
                              const std::string& input = "") {
    std::vector<std::string> args = {std::move(command), "-m", kModel, "--temp", "0"};
    args.insert(args.end(), flags.begin(), flags.end());
    return RunProgram(args, input);
  }

  TemporaryDirectory directory_;
};

class RunCommand : public Program {};
class ChatCommand : public Program {};
class LogitsCommand : public Program {};

TEST_F(RunCommand, WritesThePublishedGreedyStory) {
  const ProgramResult result = Greedy("run", {"-p", "", "-n", "256"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, ReadText(kFolder + "greedy-256.txt"));
  EXPECT_THAT(result.err, HasSubstr("decode 256 tokens"));
  EXPECT_THAT(result.err, HasSubstr("prompt 1 tokens, 0 from the cache"));
  EXPECT_THAT(result.err, HasSubstr("kv "));
}

TEST_F(RunCommand, TakesThePromptFromAFlagAFileOrStdin) {
  const std::string prompt = "Lily and Tom went to the park.";
  const std::string flag = Greedy("run", {"-n", "20", "-p", prompt}).out;
  EXPECT_GT(flag.size(), 20u);
  EXPECT_EQ(Greedy("run", {"-n", "20", "-f", directory_.Write("prompt", prompt)}).out, flag);
  EXPECT_EQ(Greedy("run", {"-n", "20"}, prompt).out, flag);
  EXPECT_EQ(Greedy("run", {"-n", "20", "-p", prompt, "--display-prompt"}).out, prompt + flag);
}

TEST_F(RunCommand, ContinuesItsPromptWithoutLosingASpace) {
  const std::string story = ReadText(kFolder + "greedy-256.txt");
  ASSERT_THAT(story, StartsWith("Once upon a time"));
  const std::string out = Greedy("run", {"-n", "20", "-p", "Once upon"}).out;
  EXPECT_THAT(out, StartsWith(" a time"));
  EXPECT_THAT(story, StartsWith("Once upon" + out.substr(0, out.size() - 1)));
}

TEST_F(RunCommand, GivesTheSameTextWhateverTheThreadsAndChunks) {
  const std::vector<std::string> flags = {"-n", "40", "-p", "The dog saw a big ball and ran"};
  const std::string expected = Greedy("run", flags).out;
  for (const std::vector<std::string>& more :
       {std::vector<std::string>{"-t", "1"}, {"-t", "3"}, {"-ub", "1"}, {"-ub", "3", "-t", "2"}}) {
    std::vector<std::string> all = flags;
    all.insert(all.end(), more.begin(), more.end());
    EXPECT_EQ(Greedy("run", all).out, expected);
  }
}

TEST_F(RunCommand, RepeatsASampledTextWithItsSeed) {
  const auto text = [&](const char* seed) {
    return RunProgram({"run", "-m", kModel, "-p", "One day", "-n", "40", "-s", seed}).out;
  };
  EXPECT_EQ(text("1"), text("1"));
  EXPECT_NE(text("1"), text("2"));
}

TEST_F(RunCommand, StopsBeforeAStopString) {
  const std::string whole = Greedy("run", {"-p", "", "-n", "100"}).out;
  const std::string stop = whole.substr(60, 7);
  const ProgramResult result = Greedy("run", {"-p", "", "-n", "100", "-r", stop});
  EXPECT_EQ(result.out, whole.substr(0, whole.find(stop)) + "\n");
  EXPECT_THAT(result.err, HasSubstr("ended by stop"));
}

TEST_F(RunCommand, ShowsLogprobsOnStderr) {
  const ProgramResult result = Greedy("run", {"-p", "", "-n", "3", "--logprobs", "2"});
  EXPECT_EQ(result.out, Greedy("run", {"-p", "", "-n", "3"}).out);
  EXPECT_THAT(result.err, HasSubstr("logprob -"));
}

TEST_F(RunCommand, EndsTheTextWhereTheContextIsFull) {
  const ProgramResult result = Greedy("run", {"-p", "Once", "-c", "16", "--ignore-eos"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.err, HasSubstr("ended by context_full"));
}

TEST_F(RunCommand, StopsCleanlyAtCtrlC) {
  const ProgramResult result =
      RunProgram({"run", "-m", kModel, "-p", "", "-c", "1000000", "--ignore-eos"}, "",
                 {.signal = SIGINT, .signal_after = 40});
  EXPECT_EQ(result.exit_code, 130) << result.err;
  EXPECT_THAT(result.err, HasSubstr("ended by cancelled"));
  EXPECT_EQ(result.out.back(), '\n');
}

TEST_F(RunCommand, ExplainsWhatItCannotDo) {
  struct Case {
    std::vector<std::string> flags;
    int exit_code;
    std::vector<std::string> parts;
  };
  const std::string absent = directory_.Path("absent.gguf");
  const Case cases[] = {
      {{"-p", "one two three four five", "-c", "4"}, 2, {"tokens", "holds 4"}},
      {{"-p", "x", "-ctk", "q9_9"}, 2, {"-ctk: expected one of f32, f16", "found 'q9_9'"}},
      {{"-p", "x", "-m", absent}, 1, {absent, "not_found"}},
      {{"-p", "x", "-f", "y"}, 2, {"found both"}},
      {{"-f", absent}, 1, {absent}},
      {{"-p", "x", "-l", "99999+1"}, 2, {"logit_bias", "99999"}},
      {{"-p", "x", "--mem", "1K"}, 1, {"out_of_memory", "1.00 KiB"}},
  };
  for (const Case& c : cases) {
    const ProgramResult result = Greedy("run", c.flags);
    EXPECT_EQ(result.exit_code, c.exit_code) << result.err;
    EXPECT_THAT(result.out, IsEmpty());
    for (const std::string& part : c.parts) EXPECT_THAT(result.err, HasSubstr(part));
  }
  EXPECT_THAT(RunProgram({"run", "-p", "x"}).err, HasSubstr("-m: expected the path of a model"));
}

// Joins the messages with line breaks, so that a conversation can be written as a plain prompt.
constexpr const char* kPlainTemplate =
    "{% for message in messages %}{{ message.content }}\n{% endfor %}";

TEST_F(ChatCommand, AnswersInTurnsAndKeepsItsCache) {
  const std::string plain = directory_.Write("plain.jinja", kPlainTemplate);
  const std::string first = "Once upon a time", second = "Then the cat came.";
  const ProgramResult chat =
      Greedy("chat", {"--chat-template-file", plain, "-n", "12", "--verbose", "-r", "\n"},
             first + "\n" + second + "\n");
  ASSERT_EQ(chat.exit_code, 0) << chat.err;

  const auto answer = [&](const std::string& prompt) {
    return Greedy("run", {"-n", "12", "-r", "\n", "-p", prompt, "--no-escape"}).out;
  };
  const std::string one = answer(first + "\n");
  const std::string two = answer(first + "\n" + one + second + "\n");
  EXPECT_EQ(chat.out, one + two);
  // The first turn finds nothing in the cache, the second finds the first.
  EXPECT_THAT(chat.err, HasSubstr(", 0 from the cache"));
  const size_t at = chat.err.rfind(" from the cache");
  const size_t begin = chat.err.rfind(' ', at - 1) + 1;
  EXPECT_GT(std::stoi(chat.err.substr(begin, at - begin)), 5);
}

TEST_F(ChatCommand, StartsOverAfterClear) {
  const std::string plain = directory_.Write("plain.jinja", kPlainTemplate);
  const auto chat = [&](const std::string& input) {
    return Greedy("run", {"-cnv", "--chat-template-file", plain, "-n", "8"}, input).out;
  };
  const std::string once = chat("The sun\n");
  EXPECT_EQ(chat("The moon\n/clear\nThe sun\n/exit\nunread\n"), chat("The moon\n") + once);
}

TEST_F(ChatCommand, PutsTheSystemPromptFirst) {
  const std::string plain = directory_.Write("plain.jinja", kPlainTemplate);
  EXPECT_EQ(
      Greedy("chat", {"--chat-template-file", plain, "-n", "8", "-sys", "Be kind."}, "The sun\n")
          .out,
      Greedy("run", {"-n", "8", "-p", "Be kind.\nThe sun\n"}).out);
}

TEST_F(ChatCommand, SaysThatTheModelHasNoTemplate) {
  const ProgramResult result = Greedy("chat", {}, "hello\n");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("chat template"));
}

std::vector<float> Floats(const std::string& path) {
  const std::string bytes = ReadText(path);
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
  return values;
}

TEST_F(LogitsCommand, WritesARowPerTokenThatLaterTokensDoNotChange) {
  constexpr size_t kVocab = 512;
  const std::string path = directory_.Path("logits");
  const auto logits = [&](const std::string& tokens, const std::string& ubatch) {
    const ProgramResult result =
        RunProgram({"logits", "-m", kModel, "--tokens", tokens, "-o", path, "-ub", ubatch});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_THAT(result.out, IsEmpty());
    return Floats(path);
  };
  const std::vector<float> all = logits("1 403 407,261 378", "512");
  ASSERT_EQ(all.size(), 5 * kVocab);
  const std::vector<float> some = logits("1 403 407", "2");
  ASSERT_EQ(some.size(), 3 * kVocab);
  EXPECT_TRUE(std::equal(some.begin(), some.end(), all.begin()));
  // The published story begins with the likeliest token after BOS.
  const auto best = std::max_element(all.begin(), all.begin() + kVocab) - all.begin();
  const ProgramResult text =
      RunProgram({"tokenize", "-m", kModel, "--decode"}, std::to_string(best));
  EXPECT_THAT(ReadText(kFolder + "greedy-256.txt"), StartsWith(text.out));
  EXPECT_THAT(text.out, Not(IsEmpty()));
}

TEST_F(LogitsCommand, NamesATokenOutOfRange) {
  const std::string path = directory_.Path("logits");
  const ProgramResult result =
      RunProgram({"logits", "-m", kModel, "--tokens", "1 512", "-o", path});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("expected ids from 0 to 511, found 512 at index 1"));
  EXPECT_FALSE(std::filesystem::exists(path));
}

}  // namespace
}  // namespace kvasir::cli
