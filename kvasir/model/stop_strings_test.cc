#include "kvasir/model/stop_strings.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>

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

RC_GTEST_PROP(StopMatcher, AgreesWithBruteForceHoweverTheTextIsCut, ()) {
  // Two letters make overlaps and near misses common.
  const auto word = [](int longest) {
    return rc::gen::resize(longest, rc::gen::container<std::string>(rc::gen::element('a', 'b')));
  };
  const auto stops = *rc::gen::resize(3, rc::gen::container<std::vector<std::string>>(word(5)));
  const std::string text = *word(40);
  const Cut expected = BruteForce(text, stops);

  StopMatcher matcher(stops);
  std::string shown;
  for (size_t begin = 0; begin < text.size();) {
    const size_t n = *rc::gen::inRange<size_t>(1, 6);
    shown += matcher.Push(text.substr(begin, n));
    begin += n;
    // What was shown is final and is never more than the answer; and no more is held than the
    // longest stop could still need.
    RC_ASSERT(expected.text.starts_with(shown));
    size_t longest = 1;
    for (const std::string& stop : stops) longest = std::max(longest, stop.size());
    if (!matcher.stopped()) {
      RC_ASSERT(std::min(begin, text.size()) - shown.size() < longest);
    }
  }
  shown += matcher.Finish();
  RC_ASSERT(shown == expected.text);
  RC_ASSERT(matcher.matched() == expected.matched);
}

}  // namespace
}  // namespace kvasir
