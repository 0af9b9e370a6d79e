#include "kvasir/model/stop_strings.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace kvasir {
namespace {

struct Cut {
  std::string text;
  std::string matched;
};

// The definition: the first byte at which some stop string ends.
Cut BruteForce(const std::string& text, const std::vector<std::string>& stops) {
  for (size_t end = 1; end <= text.size(); ++end) {
    std::string longest;
    for (const std::string& stop : stops) {
      if (stop.size() > longest.size() && text.substr(0, end).ends_with(stop)) longest = stop;
    }
    if (!longest.empty()) return {text.substr(0, end - longest.size()), longest};
  }
  return {text, {}};
}

TEST(StopMatcher, CutsTheStopAndAllAfterIt) {
  StopMatcher matcher({"</s>"});
  EXPECT_EQ(matcher.Push("one</"), "one");
  EXPECT_EQ(matcher.Push("s>two"), "");
  EXPECT_TRUE(matcher.stopped());
  EXPECT_EQ(matcher.matched(), "</s>");
  EXPECT_EQ(matcher.Push("three"), "");
  EXPECT_EQ(matcher.Finish(), "");
}

TEST(StopMatcher, HoldsBackOnlyWhatMayBecomeAStop) {
  StopMatcher matcher({"aab"});
  EXPECT_EQ(matcher.Push("xa"), "x");
  EXPECT_EQ(matcher.Push("a"), "");
  EXPECT_EQ(matcher.Push("a"), "a");
  EXPECT_EQ(matcher.Push("c"), "aac");
  EXPECT_EQ(matcher.Push("aa"), "");
  EXPECT_FALSE(matcher.stopped());
  EXPECT_EQ(matcher.Finish(), "aa");
}

TEST(StopMatcher, StopsAtTheFirstThatIsComplete) {
  StopMatcher matcher({"abcd", "bc"});
  EXPECT_EQ(matcher.Push("abcd"), "a");
  EXPECT_EQ(matcher.matched(), "bc");
}

TEST(StopMatcher, PrefersTheLongerOfTwoThatEndTogether) {
  StopMatcher matcher({"c", "bc"});
  EXPECT_EQ(matcher.Push("abc"), "a");
  EXPECT_EQ(matcher.matched(), "bc");
}

TEST(StopMatcher, JoinsACharacterSplitBetweenPushes) {
  StopMatcher matcher({"\xE2\x82\xAC"});  // the euro sign
  EXPECT_EQ(matcher.Push("5\xE2"), "5");
  EXPECT_EQ(matcher.Push("\x82"), "");
  EXPECT_EQ(matcher.Push("\xAC!"), "");
  EXPECT_TRUE(matcher.stopped());
}

TEST(StopMatcher, PassesEverythingWithoutStops) {
  StopMatcher matcher({""});
  EXPECT_EQ(matcher.Push("any"), "any");
  EXPECT_FALSE(matcher.stopped());
}

TEST(StopMatcher, AgreesWithBruteForceHoweverTheTextIsCut) {
  std::mt19937 random(11);
  // Two letters make overlaps and near misses common.
  const auto word = [&](size_t longest) {
    std::string text(random() % (longest + 1), 'a');
    for (char& c : text) c = random() % 2 ? 'a' : 'b';
    return text;
  };
  for (int trial = 0; trial < 20000; ++trial) {
    std::vector<std::string> stops(random() % 4);
    for (std::string& stop : stops) stop = word(6);
    const std::string text = word(30);
    const size_t longest_push = 1 + random() % 30;
    const Cut expected = BruteForce(text, stops);
    size_t longest_stop = 1;
    for (const std::string& stop : stops) longest_stop = std::max(longest_stop, stop.size());

    StopMatcher matcher(stops);
    std::string shown;
    for (size_t begin = 0; begin < text.size();) {
      const size_t n = std::min(1 + random() % longest_push, text.size() - begin);
      shown += matcher.Push(text.substr(begin, n));
      begin += n;
      // What was shown is final, and no more is held back than a stop string could still need.
      ASSERT_TRUE(expected.text.starts_with(shown)) << text;
      if (!matcher.stopped()) {
        ASSERT_LT(begin - shown.size(), longest_stop) << text;
      }
    }
    shown += matcher.Finish();
    ASSERT_EQ(shown, expected.text) << text;
    ASSERT_EQ(matcher.matched(), expected.matched) << text;
  }
}

}  // namespace
}  // namespace kvasir
