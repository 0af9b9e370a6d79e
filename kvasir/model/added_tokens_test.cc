#include "kvasir/model/added_tokens.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace kvasir {
namespace {

// "text|3|text": sections joined by bars, added tokens as their ids.
std::string Show(const AddedTokens& added, std::string_view text,
                 std::vector<TextRange> allowed = {}) {
  std::string shown;
  for (const TextSection& section : added.Partition(text, allowed)) {
    if (!shown.empty()) shown += '|';
    const auto [begin, end] = section.range;
    shown +=
        section.id < 0 ? std::string(text.substr(begin, end - begin)) : std::to_string(section.id);
  }
  return shown;
}

TEST(AddedTokens, TakesTheLeftmostThenTheLongest) {
  AddedTokens added;
  added.Add("ab", {.id = 1});
  added.Add("abcd", {.id = 2});
  added.Add("bcdef", {.id = 3});
  EXPECT_EQ(Show(added, "xabcdefy"), "x|2|efy");
  EXPECT_EQ(Show(added, "abcx"), "1|cx");
  EXPECT_EQ(Show(added, "abab"), "1|1");
  EXPECT_EQ(Show(added, "zbcdef"), "z|3");
  EXPECT_EQ(Show(added, ""), "");
}

TEST(AddedTokens, FindsRestrictedOnesOnlyInsideTheRanges) {
  AddedTokens added;
  added.Add("<s>", {.id = 1, .restricted = true});
  added.Add("<", {.id = 2});
  const std::string text = "<s><s><s>";
  EXPECT_EQ(Show(added, text), "2|s>|2|s>|2|s>");
  EXPECT_EQ(Show(added, text, {{3, 6}}), "2|s>|1|2|s>");
  EXPECT_EQ(Show(added, text, {{0, 5}}), "1|2|s>|2|s>");  // the second one leaves the range
  EXPECT_EQ(Show(added, text, {{0, 3}, {6, 9}}), "1|2|s>|1");
}

TEST(AddedTokens, SwallowWhiteSpaceAroundThem) {
  AddedTokens added;
  added.Add("<l>", {.id = 1, .lstrip = true});
  added.Add("<r>", {.id = 2, .rstrip = true});
  EXPECT_EQ(Show(added, "a \n<l> b"), "a|1| b");
  EXPECT_EQ(Show(added, "a <r>\xC2\xA0\t b"), "a |2|b");
  EXPECT_EQ(Show(added, "  <l>"), "1");
  EXPECT_EQ(Show(added, "<r>  <l>"), "2|1");
}

// Partition against the definition: at each place try every token, longest first.
TEST(AddedTokens, AgreeWithTryingEveryToken) {
  std::mt19937 random(3);
  for (int round = 0; round < 500; ++round) {
    std::vector<std::string> tokens;
    AddedTokens added;
    for (int i = 0; i < 6; ++i) {
      std::string token;
      for (size_t n = 1 + random() % 4; n > 0; --n) token += static_cast<char>('a' + random() % 2);
      if (std::find(tokens.begin(), tokens.end(), token) != tokens.end()) continue;
      added.Add(token, {.id = static_cast<TokenId>(tokens.size())});
      tokens.push_back(token);
    }
    std::string text;
    for (int i = 0; i < 30; ++i) text += "abc"[random() % 3];
    std::string expected, plain;
    const auto append = [&](const std::string& part) {
      if (!part.empty()) expected += (expected.empty() ? "" : "|") + part;
    };
    for (size_t at = 0; at < text.size();) {
      int best = -1;
      for (int i = 0; i < static_cast<int>(tokens.size()); ++i) {
        if (text.compare(at, tokens[i].size(), tokens[i]) == 0 &&
            (best < 0 || tokens[i].size() > tokens[best].size())) {
          best = i;
        }
      }
      if (best < 0) {
        plain += text[at++];
        continue;
      }
      append(std::exchange(plain, ""));
      append(std::to_string(best));
      at += tokens[best].size();
    }
    append(plain);
    EXPECT_EQ(Show(added, text), expected) << text;
  }
}

}  // namespace
}  // namespace kvasir
