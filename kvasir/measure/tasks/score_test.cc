#include "kvasir/measure/tasks/score.h"

#include <gtest/gtest.h>

#include <vector>

namespace kvasir {
namespace {

double Score(std::string_view reply, std::vector<std::string> expected) {
  return ScoreReply(reply, expected);
}

TEST(Score, TakesASingleAnswerAtTheStartOnly) {
  EXPECT_EQ(Score("4821", {"4821"}), 1);
  EXPECT_EQ(Score(" \"4821\".\n", {"4821"}), 1);
  EXPECT_EQ(Score("4821 is the code", {"4821"}), 1);
  EXPECT_EQ(Score("The code is 4821", {"4821"}), 0);
  EXPECT_EQ(Score("1234 or 4821", {"4821"}), 0);
  EXPECT_EQ(Score("", {"4821"}), 0);
}

TEST(Score, WantsWholeWords) {
  EXPECT_EQ(Score("48215", {"4821"}), 0);
  EXPECT_EQ(Score("14821", {"4821"}), 0);
  EXPECT_EQ(Score("baker", {"bake"}), 0);
  EXPECT_EQ(Score("bake_r", {"bake"}), 0);
  EXPECT_EQ(Score("bake-r", {"bake"}), 1);
  EXPECT_EQ(Score("caf\xC3\xA9", {"caf"}), 0);
  EXPECT_EQ(Score("Baker", {"baker"}), 0);
}

TEST(Score, CountsTheShareOfSeveralInAnyOrder) {
  EXPECT_EQ(Score("1, 2, 3", {"1", "2", "3"}), 1);
  EXPECT_EQ(Score("They are 3 and 1", {"1", "2", "3"}), 2.0 / 3);
  EXPECT_EQ(Score("11 22 33", {"1", "2", "3"}), 0);
  EXPECT_EQ(Score("11 1", {"1", "2"}), 0.5);
}

TEST(Score, SeesPastWhiteSpaceAndEndingPunctuation) {
  EXPECT_EQ(NormalizeReply("  a \n\t b . "), "a b");
  EXPECT_EQ(NormalizeReply(" ... "), "");
  EXPECT_EQ(Score("return f(x)\n + 12", {"return f(x) + 12"}), 1);
  EXPECT_EQ(Score("return f(x) + 123", {"return f(x) + 12"}), 0);
  EXPECT_EQ(Score("lamp  boat", {"lamp boat"}), 1);
}

TEST(Score, IsZeroWhereNothingIsExpected) {
  EXPECT_EQ(Score("anything", {}), 0);
  EXPECT_EQ(Score("anything", {"..."}), 0);
}

}  // namespace
}  // namespace kvasir
