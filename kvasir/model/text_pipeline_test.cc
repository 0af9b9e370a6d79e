#include "kvasir/model/text_pipeline.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ctime>

namespace kvasir {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Behavior = SplitStep::Behavior;

std::vector<std::string> Split(const TextPipeline& pipeline, std::string_view text) {
  Words words;
  SplitWords(pipeline, text, true, words);
  return {words.words.begin(), words.words.end()};
}

std::vector<std::string> Split(std::string_view pattern, std::string_view text,
                               Behavior behavior = Behavior::kIsolated, bool invert = false) {
  TextPipeline pipeline;
  pipeline.split.push_back(IsolatingStep(pattern).value());
  pipeline.split[0].behavior = behavior;
  pipeline.split[0].invert = invert;
  return Split(pipeline, text);
}

// The table in the documentation of the `tokenizers` package: "the-final--countdown" split at '-'.
TEST(SplitWords, TreatsMatchesAsDocumented) {
  const std::string text = "the-final--countdown";
  EXPECT_THAT(Split("-", text, Behavior::kRemoved), ElementsAre("the", "final", "countdown"));
  EXPECT_THAT(Split("-", text, Behavior::kIsolated),
              ElementsAre("the", "-", "final", "-", "-", "countdown"));
  EXPECT_THAT(Split("-", text, Behavior::kMergedWithPrevious),
              ElementsAre("the-", "final-", "-", "countdown"));
  EXPECT_THAT(Split("-", text, Behavior::kMergedWithNext),
              ElementsAre("the", "-final", "-", "-countdown"));
  EXPECT_THAT(Split("-", text, Behavior::kContiguous),
              ElementsAre("the", "-", "final", "--", "countdown"));
  EXPECT_THAT(Split("[a-z]+", text, Behavior::kRemoved, true),
              ElementsAre("the", "final", "countdown"));
}

TEST(SplitWords, CutsAtMatchesOfNothing) {
  EXPECT_THAT(Split("(?=(\\d{3})+(?!\\d))", "1234567"), ElementsAre("1", "234", "567"));
  EXPECT_THAT(Split("x*", "ab"), ElementsAre("a", "b"));
}

TEST(SplitWords, LeavesBytesThatAreNoTextToThemselves) {
  EXPECT_THAT(Split("\\p{L}+",
                    "ab\xFF\xFE"
                    "cd\xC3"),
              ElementsAre("ab", "\xFF\xFE", "cd", "\xC3"));
  EXPECT_THAT(Split("\\p{L}+", "\xFF", Behavior::kRemoved, true), ElementsAre("\xFF"));
}

TEST(SplitWords, RunsStepsOneAfterAnother) {
  TextPipeline pipeline;
  pipeline.split.push_back(IsolatingStep("\\p{N}").value());
  pipeline.split.push_back(IsolatingStep(" ?\\p{L}+").value());
  pipeline.split.push_back({.kind = SplitStep::Kind::kBytes});
  EXPECT_THAT(Split(pipeline, "ab 12"), ElementsAre("ab", "\xC4\xA0", "1", "2"));
  EXPECT_THAT(Split(pipeline, ""), ElementsAre());
}

TEST(Regex, TakesWhiteSpaceAsUnicodeDoes) {
  // U+180E lost that property in Unicode 6.3; U+0085 and U+3000 have it.
  EXPECT_THAT(Split("\\s",
                    "a\xE1\xA0\x8E"
                    "b"),
              ElementsAre("a\xE1\xA0\x8E"
                          "b"));
  EXPECT_THAT(Split("[^\\S]",
                    "a\xC2\x85"
                    "b\xE3\x80\x80"),
              ElementsAre("a", "\xC2\x85", "b", "\xE3\x80\x80"));
}

TEST(Regex, NamesThePatternItCannotTake) {
  EXPECT_THAT(Regex::Compile("(a").status().message(), HasSubstr("pattern '(a'"));
  EXPECT_THAT(Regex::Compile("[a[b]]").status().message(), HasSubstr("class within a class"));
  EXPECT_EQ(Regex::Compile("[\\w&&[^x]]").status().code(), StatusCode::kUnsupported);
  EXPECT_TRUE(Regex::Compile("[]a[:alpha:]\\[]").ok());
  EXPECT_EQ(Regex::Compile(std::string(1 << 20, 'a')).status().code(), StatusCode::kUnsupported);
}

TEST(Regex, GivesUpWhereAPatternBacktracksWithoutEnd) {
  const std::clock_t start = std::clock();  // of the processor: a busy machine is not the test's
  const std::string text = std::string(200, 'a') + "!";
  const Regex::Match match = Regex::Compile("(?:a+a+)+$").value().Find(text, 0);
  EXPECT_EQ(match.outcome, Regex::Match::Outcome::kGaveUp);
  EXPECT_THAT(Split("(?:a+a+)+$", text), ElementsAre(text));
  EXPECT_LT((std::clock() - start) / CLOCKS_PER_SEC, 30);
}

TEST(Regex, TakesLongRunsOfEveryKind) {
  const std::string patterns[] = {"llama-bpe", "gpt-4o", "tekken", "deepseek-v3", "default"};
  for (const std::string& name : patterns) {
    const NamedPreTokenizer named = FindPreTokenizer(name).value();
    for (const char* unit : {"a", "A", " ", "\n", "1", "!", "\xE7\x8C\xAB", " \n", "aB"}) {
      std::string text;
      while (text.size() < 200'000) text += unit;
      Words words;
      SplitWords(named.pipeline, text, true, words);
      size_t total = 0;
      for (const std::string_view word : words.words) total += word.size();
      EXPECT_EQ(total, words.buffer.size());
    }
  }
}

TEST(Normalize, RunsStepsOneAfterAnother) {
  TextPipeline pipeline;
  pipeline.normalize = {{NormalizeStep::Kind::kPrepend, "", " "},
                        {NormalizeStep::Kind::kReplace, " ", "__"}};
  EXPECT_EQ(Normalize(pipeline, "a b"), "__a__b");
  EXPECT_EQ(Normalize(pipeline, ""), "");
}

TEST(Normalize, ComposesAndDecomposesAroundBytesThatAreNoText) {
  const auto form = [](NormalizeStep::Kind kind, std::string_view text) {
    TextPipeline pipeline;
    pipeline.normalize = {{kind}};
    return Normalize(pipeline, text);
  };
  using Kind = NormalizeStep::Kind;
  EXPECT_EQ(form(Kind::kNfc,
                 "e\xCC\x81\xFF"
                 "e\xCC\x81"),
            "\xC3\xA9\xFF\xC3\xA9");
  EXPECT_EQ(form(Kind::kNfd, "\xC3\xA9"), "e\xCC\x81");
  EXPECT_EQ(form(Kind::kNfkc, "\xEF\xAC\x81"), "fi");
  EXPECT_EQ(form(Kind::kNfc, "\xEF\xAC\x81"), "\xEF\xAC\x81");
  EXPECT_EQ(form(Kind::kNfkd, "\xC2\xBD"),
            "1\xE2\x81\x84"
            "2");
}

}  // namespace
}  // namespace kvasir
