#include "cli/args.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "cli/arg_values.h"
#include "cli/common_args.h"

namespace kvasir::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const Environment kNoEnvironment = [](const char*) -> const char* { return nullptr; };

Environment Variables(std::map<std::string, std::string> values) {
  return [values = std::move(values)](const char* name) -> const char* {
    const auto it = values.find(name);
    return it == values.end() ? nullptr : it->second.c_str();
  };
}

// One option of each type.
struct Sample {
  std::string model;
  std::string type = "f16";
  int32_t n_ctx = 0;
  float temperature = 0.5f;
  bool verbose = false;
  bool escape = true;
  int64_t memory = 0;
  std::vector<std::string> stop;
  std::vector<int64_t> sizes = {512};
  std::vector<std::string> types = {"f16"};
  std::vector<std::string> words;
  ArgTable table{"sample", "A command."};

  Sample() {
    table.Add(
        "flags",
        {{.names = {"-m", "--model"},
          .metavar = "PATH",
          .help = "a model",
          .target = &model,
          .llama_env = "MODEL"},
         {.names = {"-ctk", "--cache-type-k"},
          .metavar = "TYPE",
          .help = "keys",
          .target = &type,
          .choices = {"f16", "q8_0"},
          .llama_env = "CACHE_TYPE_K"},
         {.names = {"-c", "--ctx-size"},
          .metavar = "N",
          .help = "context",
          .target = &n_ctx,
          .min = -1,
          .max = 1000,
          .llama_env = "CTX_SIZE"},
         {.names = {"--temp"}, .metavar = "T", .help = "heat", .target = &temperature, .min = 0},
         {.names = {"-v", "--verbose"}, .help = "more", .target = &verbose},
         {.names = {"-e", "--escape"}, .help = "escapes", .target = &escape, .negative = {"-ne"}},
         {.names = {"--mem"}, .metavar = "BYTES", .help = "limit", .target = ByteSize{&memory}},
         {.names = {"-r", "--stop"}, .metavar = "TEXT", .help = "stop", .target = &stop},
         {.names = {"-p"}, .metavar = "N", .help = "sizes", .target = &sizes, .min = 0},
         {.names = {"--types"},
          .metavar = "T",
          .help = "types",
          .target = &types,
          .choices = {"f16", "q8_0"},
          .comma_list = true},
         {.names = {"-fa", "--flash-attn"},
          .metavar = "on|off|auto",
          .help = "flash",
          .target = Ignored{true},
          .choices = {"on", "off", "auto"},
          .implied = "on",
          .notice = "always on"},
         {.names = {"--mlock"}, .help = "lock", .notice = "ignored"}});
    table.SetPositionals({.metavar = "WORD", .help = "words", .target = &words, .max = 2});
  }

  Status Parse(std::vector<std::string> args, const Environment& env = kNoEnvironment) {
    return table.Parse(args, env);
  }
};

std::string ErrorOf(std::vector<std::string> args, const Environment& env = kNoEnvironment) {
  Sample sample;
  const Status status = sample.Parse(std::move(args), env);
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  return status.message();
}

TEST(ArgTable, TakesMultiLetterSingleDashFlags) {
  Sample s;
  ASSERT_TRUE(s.Parse({"-ctk", "q8_0", "-m", "x.gguf", "-c", "64"}).ok());
  EXPECT_EQ(s.type, "q8_0");
  EXPECT_EQ(s.model, "x.gguf");
  EXPECT_EQ(s.n_ctx, 64);
}

TEST(ArgTable, TakesAValueAfterEquals) {
  Sample s;
  ASSERT_TRUE(s.Parse({"--cache-type-k=q8_0", "-m=a=b", "-c=-1", "--temp=1e-1"}).ok());
  EXPECT_EQ(s.type, "q8_0");
  EXPECT_EQ(s.model, "a=b");
  EXPECT_EQ(s.n_ctx, -1);
  EXPECT_FLOAT_EQ(s.temperature, 0.1f);
}

TEST(ArgTable, TakesNegativeNumbersAsValues) {
  Sample s;
  ASSERT_TRUE(s.Parse({"-c", "-1"}).ok());
  EXPECT_EQ(s.n_ctx, -1);
}

TEST(ArgTable, KeepsDefaultsAndKnowsWhatWasGiven) {
  Sample s;
  ASSERT_TRUE(s.Parse({"--temp", "0"}).ok());
  EXPECT_EQ(s.type, "f16");
  EXPECT_THAT(s.sizes, ElementsAre(512));
  EXPECT_TRUE(s.table.Given("--temp"));
  EXPECT_FALSE(s.table.Given("-ctk"));
}

TEST(ArgTable, LetsTheLastOfARepeatedFlagWin) {
  Sample s;
  ASSERT_TRUE(s.Parse({"-c", "1", "-c", "2"}).ok());
  EXPECT_EQ(s.n_ctx, 2);
}

TEST(ArgTable, PairsEveryBooleanWithItsNegation) {
  Sample s;
  ASSERT_TRUE(s.Parse({"--verbose", "--no-escape"}).ok());
  EXPECT_TRUE(s.verbose);
  EXPECT_FALSE(s.escape);
  ASSERT_TRUE(s.Parse({"--no-verbose", "-e"}).ok());
  EXPECT_FALSE(s.verbose);
  EXPECT_TRUE(s.escape);
  ASSERT_TRUE(s.Parse({"-v=off", "-ne"}).ok());
  EXPECT_FALSE(s.verbose);
  EXPECT_FALSE(s.escape);
}

TEST(ArgTable, CollectsListsAndReplacesTheirDefault) {
  Sample s;
  ASSERT_TRUE(
      s.Parse({"-p", "1,2", "-r", "a,b", "-p", "3", "-r", "c", "--types", "q8_0,f16"}).ok());
  EXPECT_THAT(s.sizes, ElementsAre(1, 2, 3));
  EXPECT_THAT(s.stop, ElementsAre("a,b", "c"));
  EXPECT_THAT(s.types, ElementsAre("q8_0", "f16"));
}

TEST(ArgTable, ReadsByteSizes) {
  for (const auto& [text, bytes] : std::map<std::string, int64_t>{{"4096", 4096},
                                                                  {"512M", int64_t{512} << 20},
                                                                  {"1.5G", int64_t{3} << 29},
                                                                  {"2k", 2048},
                                                                  {"1GiB", int64_t{1} << 30},
                                                                  {"3MB", int64_t{3} << 20}}) {
    const Result<int64_t> parsed = ParseByteSize("--mem", text);
    ASSERT_TRUE(parsed.ok()) << text;
    EXPECT_EQ(*parsed, bytes) << text;
  }
  for (const char* text : {"", "G", "1X", "-1", "1.2.3", "1Gx", "99999999999T", "nan", "inf"}) {
    EXPECT_FALSE(ParseByteSize("--mem", text).ok()) << text;
  }
}

TEST(ArgTable, AcceptsOldBareFlashAttention) {
  Sample s;
  ASSERT_TRUE(s.Parse({"-fa", "-c", "5"}).ok());
  EXPECT_EQ(s.n_ctx, 5);
  Sample t;
  ASSERT_TRUE(t.Parse({"-fa", "off", "word"}).ok());
  EXPECT_THAT(t.words, ElementsAre("word"));
  EXPECT_THAT(t.table.notices(), ElementsAre("-fa: always on"));
}

TEST(ArgTable, RecordsNoticesOfFlagsWithoutEffect) {
  Sample s;
  ASSERT_TRUE(s.Parse({"--mlock", "-c", "5"}).ok());
  EXPECT_THAT(s.table.notices(), ElementsAre("--mlock: ignored"));
}

TEST(ArgTable, TakesPositionalsAndEndsFlagsAtTwoDashes) {
  Sample s;
  ASSERT_TRUE(s.Parse({"one", "-c", "5", "--", "-c"}).ok());
  EXPECT_THAT(s.words, ElementsAre("one", "-c"));
  EXPECT_THAT(ErrorOf({"a", "b", "c"}), HasSubstr("found 'c'"));
}

TEST(ArgTable, CountsRequiredPositionals) {
  std::vector<std::string> words;
  ArgTable table("diff", "");
  table.SetPositionals({.metavar = "A B", .help = "", .target = &words, .min = 2, .max = 2});
  const std::vector<std::string> args = {"one"};
  EXPECT_EQ(table.Parse(args, kNoEnvironment).message(), "diff: expected A B, found 1 of 2");
}

TEST(ArgTable, NamesTheFlagTheExpectedAndTheFound) {
  EXPECT_EQ(ErrorOf({"-c", "12x"}), "-c: expected an integer from -1 to 1000, found '12x'");
  EXPECT_EQ(ErrorOf({"-c", "1001"}), "-c: expected an integer from -1 to 1000, found '1001'");
  EXPECT_EQ(ErrorOf({"-c="}), "-c: expected an integer from -1 to 1000, found ''");
  EXPECT_EQ(ErrorOf({"-c", "99999999999999999999"}),
            "-c: expected an integer from -1 to 1000, found '99999999999999999999'");
  EXPECT_EQ(ErrorOf({"--temp", "-0.5"}), "--temp: expected a number of at least 0, found '-0.5'");
  EXPECT_EQ(ErrorOf({"--temp", "nan"}), "--temp: expected a number of at least 0, found 'nan'");
  EXPECT_EQ(ErrorOf({"-ctk", "q3"}), "-ctk: expected one of f16, q8_0, found 'q3'");
  EXPECT_EQ(ErrorOf({"-p", "1,,2"}),
            "-p: expected integers of at least 0, separated by commas, found ''");
  EXPECT_EQ(ErrorOf({"-m"}), "-m: expected PATH, found the end of the command line");
  EXPECT_EQ(ErrorOf({"-m", "-c", "5"}),
            "-m: expected PATH, found the flag -c (write -m=-c if that is the value)");
  EXPECT_THAT(ErrorOf({"--verbose=maybe"}), HasSubstr("found 'maybe'"));
}

TEST(ArgTable, SuggestsTheNearestFlag) {
  EXPECT_EQ(ErrorOf({"--cache-typ-k", "f16"}),
            "sample: unknown flag --cache-typ-k; did you mean --cache-type-k?");
  EXPECT_EQ(ErrorOf({"-ckt", "f16"}), "sample: unknown flag -ckt; did you mean -ctk?");
  EXPECT_EQ(ErrorOf({"--nonsense-here"}),
            "sample: unknown flag --nonsense-here; `kvasir sample --help` lists them");
}

TEST(ArgTable, PrefersWordsToItsOwnVariablesToLlamas) {
  const Environment env = Variables({{"KVASIR_CTX_SIZE", "7"},
                                     {"LLAMA_ARG_CTX_SIZE", "8"},
                                     {"LLAMA_ARG_CACHE_TYPE_K", "q8_0"},
                                     {"KVASIR_VERBOSE", "enabled"},
                                     {"KVASIR_ESCAPE", "0"},
                                     {"KVASIR_STOP", "x"},
                                     {"KVASIR_MODEL", ""}});
  Sample s;
  ASSERT_TRUE(s.Parse({}, env).ok());
  EXPECT_EQ(s.n_ctx, 7);
  EXPECT_EQ(s.type, "q8_0");
  EXPECT_TRUE(s.verbose);
  EXPECT_FALSE(s.escape);
  EXPECT_THAT(s.stop, ElementsAre("x"));
  EXPECT_TRUE(s.table.Given("-c"));
  EXPECT_FALSE(s.table.Given("-m"));
  Sample t;
  ASSERT_TRUE(t.Parse({"-c", "9", "--stop", "y"}, env).ok());
  EXPECT_EQ(t.n_ctx, 9);
  EXPECT_THAT(t.stop, ElementsAre("y"));
}

TEST(ArgTable, NamesTheVariableWithABadValue) {
  EXPECT_EQ(ErrorOf({}, Variables({{"LLAMA_ARG_CTX_SIZE", "many"}})),
            "LLAMA_ARG_CTX_SIZE: expected an integer from -1 to 1000, found 'many'");
  EXPECT_THAT(ErrorOf({}, Variables({{"KVASIR_VERBOSE", "perhaps"}})),
              HasSubstr("KVASIR_VERBOSE: expected 1, on"));
}

TEST(ArgTable, PrintsHelpWithDefaultsAndChoices) {
  Sample s;
  ASSERT_TRUE(s.Parse({"-c", "4", "--help", "--garbage"}).ok());
  EXPECT_TRUE(s.table.help_requested());
  const std::string help = s.table.Help();
  EXPECT_THAT(help, HasSubstr("usage: kvasir sample [FLAGS] WORD"));
  EXPECT_THAT(help, HasSubstr("-ctk, --cache-type-k TYPE"));
  EXPECT_THAT(help, HasSubstr("keys (f16, q8_0) [f16]"));
  EXPECT_THAT(help, HasSubstr("-e, --escape, -ne, --no-escape"));
  size_t widest = 0;
  for (size_t begin = 0; begin < help.size();) {
    const size_t end = help.find('\n', begin);
    widest = std::max(widest, end - begin);
    begin = end + 1;
  }
  EXPECT_LE(widest, 104u);
}

TEST(CommonArgs, CarryLlamaCppsDefaultsAndSpellings) {
  ModelArgs model;
  ContextArgs context;
  KvArgs kv;
  SamplingArgs sampling;
  PromptArgs prompt;
  ChatArgs chat;
  ArgTable table("run", "");
  table.Add("model", ModelOptions(model));
  table.Add("context", ContextOptions(context));
  table.Add("kv", KvOptions(kv));
  table.Add("sampling", SamplingOptions(sampling));
  table.Add("prompt", PromptOptions(prompt));
  table.Add("chat", ChatOptions(chat));
  table.Add("others", CompatibilityOptions());
  EXPECT_FLOAT_EQ(sampling.options.temperature, 0.8f);
  EXPECT_EQ(sampling.options.top_k, 40);
  EXPECT_EQ(context.n_ubatch, 512);
  const std::vector<std::string> args = {"-m",
                                         "m.gguf",
                                         "-c",
                                         "4096",
                                         "-n",
                                         "-1",
                                         "-p",
                                         "hi",
                                         "-t",
                                         "4",
                                         "-b",
                                         "512",
                                         "-ub",
                                         "128",
                                         "-s",
                                         "42",
                                         "--temp",
                                         "0",
                                         "--top-k",
                                         "20",
                                         "--top-p",
                                         "0.9",
                                         "--min-p",
                                         "0.1",
                                         "--repeat-penalty",
                                         "1.1",
                                         "--repeat-last-n",
                                         "32",
                                         "--presence-penalty",
                                         "0.5",
                                         "--frequency-penalty",
                                         "0.25",
                                         "-ctk",
                                         "f32",
                                         "-ctv",
                                         "f16",
                                         "-cnv",
                                         "-e",
                                         "--keep",
                                         "-1",
                                         "-r",
                                         "User:",
                                         "--stop",
                                         "###",
                                         "--kv",
                                         "exact",
                                         "--mem",
                                         "4G",
                                         "--ignore-eos",
                                         "--logprobs",
                                         "5",
                                         "--chat-template-file",
                                         "t.jinja",
                                         "-sys",
                                         "You are",
                                         "-l",
                                         "5-inf",
                                         "--no-display-prompt",
                                         "--verbose",
                                         "-fa",
                                         "-ngl",
                                         "99",
                                         "--no-mmap",
                                         "-nkvo"};
  const Status status = table.Parse(args, kNoEnvironment);
  ASSERT_TRUE(status.ok()) << status.ToString();
  EXPECT_EQ(kv.type_k, "f32");
  EXPECT_EQ(kv.memory, int64_t{4} << 30);
  EXPECT_FALSE(prompt.display_prompt);
  EXPECT_THAT(prompt.stop, ElementsAre("User:", "###"));
  EXPECT_EQ(table.notices().size(), 6u);
  const Result<SamplerOptions> options = ResolveSampling(sampling);
  ASSERT_TRUE(options.ok());
  EXPECT_EQ(options->seed, 42u);
  ASSERT_EQ(options->logit_bias.size(), 1u);
  EXPECT_EQ(options->logit_bias[0].first, 5);
  EXPECT_EQ(options->logit_bias[0].second, -INFINITY);
}

TEST(CommonArgs, RefuseABiasThatIsNotIdAndNumber) {
  for (const char* text : {"", "5", "+1", "5+", "x+1", "5*2", "5+1z"}) {
    SamplingArgs args;
    args.logit_bias = {text};
    EXPECT_FALSE(ResolveSampling(args).ok()) << text;
  }
}

TEST(CommonArgs, TurnEscapesIntoCharacters) {
  EXPECT_EQ(ProcessEscapes("a\\nb\\t\\\\n\\x41\\q\\"), "a\nb\t\\nA\\q\\");
  EXPECT_EQ(ProcessEscapes("\\x4"), "\\x4");
}

}  // namespace
}  // namespace kvasir::cli
