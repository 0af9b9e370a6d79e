// Every task is solved here a second time, from nothing but the text of its context and questions.
#include "kvasir/measure/tasks/task.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <sstream>

#include "kvasir/core/join.h"
#include "kvasir/core/random.h"
#include "kvasir/measure/tasks/transcript.h"
#include "kvasir/measure/tasks/words.h"

namespace kvasir {
namespace {

using Answers = std::vector<std::string>;

TaskCase Make(std::string_view name, const TaskOptions& options) {
  const TaskInfo* task = FindTask(name);
  EXPECT_NE(task, nullptr) << name;
  auto made = MakeTaskCase(*task, options);
  EXPECT_TRUE(made.ok()) << made.status().ToString();
  return made.ok() ? *made : TaskCase{};
}

// First groups of all matches, in order.
Answers FindAll(const std::string& text, const std::string& pattern) {
  const std::regex regex(pattern);
  Answers found;
  for (std::sregex_iterator it(text.begin(), text.end(), regex), end; it != end; ++it) {
    found.push_back((*it)[1]);
  }
  return found;
}

std::vector<std::string> Words(const std::string& text) {
  std::istringstream stream(text);
  return {std::istream_iterator<std::string>(stream), {}};
}

// The part of a question that a pattern's only group matches; "" if it is not such a question.
std::string Asked(const std::string& question, const std::string& pattern) {
  std::smatch match;
  return std::regex_match(question, match, std::regex(pattern)) ? match[1].str() : "";
}

Answers SolveCode(const std::string& context, const std::string& question) {
  const std::string key = Asked(question, "What is the code of the (.*)\\?");
  return FindAll(context, "The code of the " + key + " is (\\d{4})\\.");
}

Answers SolveQuery(const std::string& context, const std::string& question) {
  Answers answers;
  for (const std::string& key : FindAll(question, "the (\\w+ \\w+)(?=,| and |\\?)")) {
    if (key.starts_with("codes")) continue;
    for (const auto& code : FindAll(context, "The code of the " + key + " is (\\d{4})\\.")) {
      answers.push_back(code);
    }
  }
  return answers;
}

Answers SolveValues(const std::string& context, const std::string& question) {
  const std::string key = Asked(question, "What are all the codes of the (.*)\\?");
  return FindAll(context, "One code of the " + key + " is (\\d{4})\\.");
}

Answers SolveQa(const std::string& context, const std::string& question) {
  const std::pair<std::string, std::string> kinds[] = {
      {"Where was (.*) born\\?", " was born in (\\w+)\\."},
      {"What is the job of (.*)\\?", " works as an? (\\w+)\\."},
      {"What animal does (.*) keep\\?", " keeps an? (\\w+) at home\\."},
      {"What does (.*) like to eat\\?", " likes to eat (\\w+)\\."}};
  for (const auto& [asks, says] : kinds) {
    const std::string name = Asked(question, asks);
    if (name.empty()) continue;
    const Answers about = FindAll(context, "(" + name + " was born in .*)");
    EXPECT_EQ(about.size(), 1u) << name;
    return FindAll(about.empty() ? "" : about.front(), says);
  }
  return {};
}

Answers SolveCopy(const std::string& context, const std::string& question) {
  const std::string key = Asked(question, "Repeat the words of the (.*)\\.");
  Answers groups;
  for (const auto& words : FindAll(context, "The words of the " + key + " are: ([a-z ]+)\\.")) {
    const auto all = Words(words);
    for (size_t i = 0; i + 4 <= all.size(); i += 4) {
      groups.push_back(Join(std::vector(all.begin() + i, all.begin() + i + 4), " "));
    }
  }
  return groups;
}

Answers SolveTracing(const std::string& context, const std::string& question) {
  const std::regex let("Let (\\w+) be (\\w+)\\.");
  std::map<std::string, std::string> number;
  Answers order;
  for (std::sregex_iterator it(context.begin(), context.end(), let), end; it != end; ++it) {
    const std::string name = (*it)[1], value = (*it)[2];
    EXPECT_FALSE(number.contains(name)) << name;
    number[name] = number.contains(value) ? number[value] : value;
    order.push_back(name);
  }
  const std::string name = Asked(question, "Which number is (.*)\\?");
  if (!name.empty()) return {number[name]};
  const std::string value = Asked(question, "Which names are (.*)\\?");
  Answers names;
  std::copy_if(order.begin(), order.end(), std::back_inserter(names),
               [&](const std::string& n) { return number[n] == value; });
  return names;
}

// The n most frequent words, most frequent first; fails where the n-th and the next are as
// frequent.
Answers MostFrequent(const std::string& context, size_t n) {
  std::map<std::string, int> counts;
  for (const std::string& word : Words(context)) ++counts[word];
  std::vector<std::pair<int, std::string>> ranked;
  for (const auto& [word, count] : counts) ranked.emplace_back(-count, word);
  std::sort(ranked.begin(), ranked.end());
  EXPECT_LT(ranked.at(n - 1).first, ranked.at(n).first);
  Answers top;
  for (size_t i = 0; i < n; ++i) top.push_back(ranked[i].second);
  return top;
}

Answers SolveCommon(const std::string& context, const std::string& question) {
  return MostFrequent(context,
                      std::stoul(Asked(question, "Which (\\d+) words are the most .*\\?")));
}

Answers SolveFrequent(const std::string& context, const std::string& question) {
  const bool one = question == "Which word is the most frequent?";
  return one ? MostFrequent(context, 1) : SolveCommon(context, question);
}

Answers SolveShared(const std::string& context, const std::string& question) {
  if (const auto key = Asked(question, "Where is the (.*) kept\\?"); !key.empty()) {
    return FindAll(context, "The " + key + " is kept in (\\w+)\\.");
  }
  if (const auto key = Asked(question, "Who owns the (.*)\\?"); !key.empty()) {
    return FindAll(context, "The " + key + " belongs to the (\\w+)\\.");
  }
  return SolveCode(context, question);
}

Answers SolveCodeEdit(const std::string& context, const std::string& question) {
  std::smatch match;
  const std::regex asks(
      "The function (\\w+) is renamed to (\\w+)\\. Write the changed line that calls it\\.");
  if (!std::regex_match(question, match, asks)) return {};
  const std::string callee = match[1], renamed = match[2];
  EXPECT_EQ(FindAll(context, "def (" + callee + ")\\(x\\):").size(), 1u);
  EXPECT_TRUE(FindAll(context, "(" + renamed + ")").empty());
  Answers lines;
  for (const auto& rest : FindAll(context, "\n    return " + callee + "(\\(x\\) \\+ \\d+)")) {
    lines.push_back("return " + renamed + rest);
  }
  return lines;
}

Answers SolveRules(const std::string& context, const std::string& question) {
  const std::string asked = Asked(question, "What is the label of (\\w+)\\?");
  EXPECT_TRUE(FindAll(context, fmt::format("(?:^|\n)({}):", asked)).empty());
  const std::string lines = fmt::format("\n{}", context);
  std::set<std::string> labels;
  for (const WordList kind : {Animals(), Foods(), Tools(), Jobs()}) {
    if (std::find(kind.begin(), kind.end(), asked) == kind.end()) continue;
    for (const std::string_view word : kind) {
      for (const auto& label : FindAll(lines, fmt::format("\n{}: (\\w+)", word))) {
        labels.insert(label);
      }
    }
  }
  return {labels.begin(), labels.end()};
}

Answers SolveJson(const std::string& context, const std::string& question) {
  const auto object = nlohmann::json::parse(context);
  const auto n_lines = static_cast<size_t>(std::count(context.begin(), context.end(), '\n')) + 1;
  EXPECT_EQ(object.size(), n_lines) << "keys differ";
  return {object.at(Asked(question, "What is the value of \"(.*)\"\\?"))};
}

using Solver = Answers (*)(const std::string& context, const std::string& question);
const std::map<std::string_view, Solver> kSolvers = {
    {"needle", SolveCode},
    {"multi_key", SolveCode},
    {"multi_query", SolveQuery},
    {"multi_value", SolveValues},
    {"qa", SolveQa},
    {"copy", SolveCopy},
    {"tracing", SolveTracing},
    {"common_words", SolveCommon},
    {"frequent_words", SolveFrequent},
    {"shared", SolveShared},
    {"code_edit", SolveCodeEdit},
    {"rules", SolveRules},
    {"kv_json", SolveJson},
};

TEST(Task, IsSolvedFromItsContextAlone) {
  for (const TaskInfo* task : Tasks()) {
    ASSERT_TRUE(kSolvers.contains(task->name)) << task->name;
    for (const uint64_t seed : {uint64_t{0}, uint64_t{1}, uint64_t{77}, kFirstHeldOutSeed + 5}) {
      for (const int64_t length : {1500, 6000}) {
        const TaskCase made = Make(task->name, {.seed = seed, .length = length, .n_turn = 3});
        ASSERT_FALSE(made.turns.empty());
        for (const TaskTurn& turn : made.turns) {
          EXPECT_EQ(kSolvers.at(task->name)(made.context, turn.question), turn.expected)
              << task->name << " seed " << seed << ": " << turn.question << "\n"
              << made.context;
        }
      }
    }
  }
}

TEST(Task, AsksEveryQuestionOnceAndListsWhatItExpects) {
  for (const TaskInfo* task : Tasks()) {
    const TaskCase made = Make(task->name, {.seed = 9, .length = 4000, .n_turn = 16});
    std::set<std::string> questions;
    for (const TaskTurn& turn : made.turns) {
      EXPECT_TRUE(questions.insert(turn.question).second) << turn.question;
      for (const std::string& one : turn.expected) {
        EXPECT_NE(turn.answer.find(one), std::string::npos) << one;
      }
    }
  }
}

TEST(Task, FillsTheLengthToWithinAUnit) {
  const auto count_words = [](std::string_view text) {
    return static_cast<int64_t>(Words(std::string(text)).size());
  };
  for (const TaskInfo* task : Tasks()) {
    for (const int64_t length : {2000, 5001, 20000}) {
      const auto n =
          static_cast<int64_t>(Make(task->name, {.seed = 3, .length = length}).context.size());
      EXPECT_LE(n, length) << task->name;
      EXPECT_GE(n, length - 450) << task->name;
    }
    const TaskCase made = Make(task->name, {.seed = 3, .length = 1000, .count = count_words});
    EXPECT_LE(count_words(made.context), 1000) << task->name;
    EXPECT_GE(count_words(made.context), 1000 - 80) << task->name;
  }
}

TEST(Task, AsksTheSameAtEveryLength) {
  for (const TaskInfo* task : Tasks()) {
    const TaskCase a = Make(task->name, {.seed = 12, .length = 1500, .n_turn = 3});
    const TaskCase b = Make(task->name, {.seed = 12, .length = 9000, .n_turn = 3});
    ASSERT_EQ(a.turns.size(), b.turns.size());
    for (size_t i = 0; i < a.turns.size(); ++i) {
      EXPECT_EQ(a.turns[i].question, b.turns[i].question);
      EXPECT_EQ(a.turns[i].expected, b.turns[i].expected);
    }
  }
}

TEST(Task, GivesTheSameBytesOnEveryMachine) {
  uint64_t hash = 0;
  for (const TaskInfo* task : Tasks()) {
    hash = Mix64(hash ^ HashText(ToJson(Make(task->name, {.seed = 42, .length = 3000})).dump()));
  }
  EXPECT_EQ(hash, 2323312958918392241u)
      << "a change of a task makes scores of before and after incomparable";
}

TEST(Task, PutsNeedlesAtUniformDepths) {
  constexpr int kCases = 1000, kBins = 10;
  int bins[kBins] = {};
  for (uint64_t seed = 0; seed < kCases; ++seed) {
    const TaskCase made = Make("needle", {.seed = seed, .length = 4000});
    const auto at = static_cast<double>(made.context.find("The code of"));
    ++bins[static_cast<int>(kBins * at / static_cast<double>(made.context.size()))];
  }
  // Chi-squared with 9 degrees of freedom passes 27.9 once in a thousand.
  double chi = 0;
  for (const int n : bins) chi += (n - kCases / kBins) * (n - kCases / kBins) / (kCases / 10.0);
  EXPECT_LT(chi, 27.9);
}

TEST(Task, KeepsHeldOutKeysFromTraining) {
  std::set<std::string> keys[2];
  for (const bool held_out : {false, true}) {
    for (uint64_t i = 0; i < 300; ++i) {
      const TaskCase made =
          Make("multi_key",
               {.seed = i + (held_out ? kFirstHeldOutSeed : 0), .length = 4000, .n_key = 16});
      for (const auto& key : FindAll(made.context, "The code of the (\\w+ \\w+) is")) {
        keys[held_out].insert(key);
      }
    }
  }
  EXPECT_GT(keys[0].size(), 4000u);
  EXPECT_GT(keys[1].size(), 3000u);
  const auto adjectives = KeyAdjectives(), nouns = KeyNouns();
  for (const bool held_out : {false, true}) {
    for (const std::string& key : keys[held_out]) {
      const auto words = Words(key);
      const auto i = std::find(adjectives.begin(), adjectives.end(), words[0]) - adjectives.begin();
      const auto j = std::find(nouns.begin(), nouns.end(), words[1]) - nouns.begin();
      EXPECT_EQ((i + j) % 4 == 3, held_out) << key;
    }
  }
}

TEST(Task, FillsWithTheSentencesOfAFileThatTellNothing) {
  const TaskCase bare = Make("needle", {.seed = 4, .length = 4000});
  const std::string secret = bare.turns[0].expected[0];
  const std::vector<std::string> filler = {"First one.", "A line with " + secret + ".", "Third."};
  const TaskCase made = Make("needle", {.seed = 4, .length = 1000, .filler = filler});
  EXPECT_NE(made.context.find("First one. Third. First one."), std::string::npos) << made.context;
  EXPECT_EQ(made.context.find("A line with"), std::string::npos);
  EXPECT_EQ(made.turns[0].expected[0], secret);
}

TEST(Task, SaysWhatDoesNotFit) {
  const auto message = [](std::string_view name, const TaskOptions& options) {
    const auto made = MakeTaskCase(*FindTask(name), options);
    return made.ok() ? std::string("ok") : made.status().message();
  };
  EXPECT_EQ(message("needle", {.length = 10}),
            "task needle: the facts alone have length 38, found 10");
  EXPECT_THAT(message("needle", {.n_key = -1}), testing::HasSubstr("keys: expected 0 to 1024"));
  EXPECT_THAT(message("rules", {.n_key = 5}), testing::HasSubstr("more than the word lists hold"));
  EXPECT_THAT(message("tracing", {.seed = kFirstHeldOutSeed, .length = 100000, .n_key = 17}),
              testing::HasSubstr("more than the word lists hold"));
  EXPECT_THAT(message("common_words", {.length = 20}), testing::HasSubstr("room for 3 lines"));
  EXPECT_THAT(message("kv_json", {.seed = kFirstHeldOutSeed, .length = 1 << 20}),
              testing::HasSubstr("the word lists or the filler give less"));
}

TEST(Task, WritesPlainTextAndJson) {
  const TaskCase made = {"t", 7, "Context.", {{"Q?", "1, 2", {"1", "2"}}, {"R?", "3", {"3"}}}};
  EXPECT_EQ(PlainTranscript(made),
            "Context.\n\nQuestion: Q?\nAnswer: 1, 2\n\nQuestion: R?\nAnswer: 3\n\n");
  EXPECT_EQ(ToJson(made).dump(), R"({"task":"t","seed":7,"context":"Context.","turns":[)"
                                 R"({"question":"Q?","answer":"1, 2","expected":["1","2"]},)"
                                 R"({"question":"R?","answer":"3","expected":["3"]}]})");
}

}  // namespace
}  // namespace kvasir
