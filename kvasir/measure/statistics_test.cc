#include "kvasir/measure/statistics.h"

#include <gtest/gtest.h>

#include <vector>

namespace kvasir {
namespace {

TEST(Summarize, GivesTheTextbookFigures) {
  const std::vector<double> values = {9, 2, 4, 4, 5, 5, 7, 4};
  const Summary s = Summarize(values);
  EXPECT_DOUBLE_EQ(s.mean, 5);
  EXPECT_DOUBLE_EQ(s.median, 4.5);
  EXPECT_DOUBLE_EQ(s.stddev * s.stddev, 32.0 / 7);  // squares sum to 32
  EXPECT_EQ(s.min, 2);
  EXPECT_EQ(s.max, 9);
}

TEST(Summarize, MedianOfAnOddCountIsTheValueInTheMiddle) {
  EXPECT_EQ(Summarize(std::vector<double>{100, 1, 3}).median, 3);
}

TEST(Summarize, OneValueHasNoSpread) {
  const Summary s = Summarize(std::vector<double>{3});
  EXPECT_EQ(s.mean, 3);
  EXPECT_EQ(s.median, 3);
  EXPECT_EQ(s.stddev, 0);
}

TEST(Quantile, IsTheSmallestValueThatTheShareDoesNotPass) {
  const std::vector<double> values = {5, 1, 4, 2, 3};
  EXPECT_EQ(Quantile(values, 0), 1);
  EXPECT_EQ(Quantile(values, 0.2), 1);
  EXPECT_EQ(Quantile(values, 0.21), 2);
  EXPECT_EQ(Quantile(values, 0.5), 3);
  EXPECT_EQ(Quantile(values, 0.99), 5);
  EXPECT_EQ(Quantile(values, 1), 5);
  EXPECT_EQ(Quantile({}, 0.5), 0);
}

TEST(Summarize, NothingIsZero) { EXPECT_EQ(Summarize({}).mean, 0); }

}  // namespace
}  // namespace kvasir
