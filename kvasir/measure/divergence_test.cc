#include "kvasir/measure/divergence.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace kvasir {
namespace {

TEST(CompareLogits, OfEqualRowsIsZeroToTheBit) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0, 20);
  std::vector<float> row(1000);
  for (float& x : row) x = normal(random);
  const RowDivergence same = CompareLogits(row, row, 7);
  EXPECT_EQ(same.kl, 0);
  EXPECT_TRUE(same.same_top);
  EXPECT_EQ(same.nll, same.reference_nll);
}

TEST(CompareLogits, IsTheDefinition) {
  // p = (1/2, 1/4, 1/4), q = (1/4, 1/2, 1/4); a constant changes nothing.
  const std::vector<float> p = {std::log(2.f), 0, 0}, q = {50, 50 + std::log(2.f), 50};
  const RowDivergence row = CompareLogits(p, q, 1);
  EXPECT_NEAR(row.kl, 0.5 * std::log(2) - 0.25 * std::log(2), 1e-5);
  EXPECT_FALSE(row.same_top);
  EXPECT_NEAR(row.nll, std::log(2), 1e-5);
  EXPECT_NEAR(row.reference_nll, std::log(4), 1e-5);
  EXPECT_NEAR(NegativeLogLikelihood(q, 1), std::log(2), 1e-5);
}

TEST(CompareLogits, StandsLargeLogitsAndTies) {
  const std::vector<float> p = {1e5f, -1e5f, 1e5f}, q = {-1e5f, 1e5f, -1e5f};
  EXPECT_NEAR(CompareLogits(p, q, -1).kl, 2e5 - std::log(2), 1e-3);
  // Ties go to the lower id in both.
  EXPECT_TRUE(CompareLogits(p, std::vector<float>{3, 1, 3}, -1).same_top);
}

TEST(SummarizeErrors, GivesMeanPercentilesAndTheWorstPlace) {
  PositionErrors errors;
  for (int i = 0; i < 200; ++i) {
    errors.Add(
        1000 + i,
        {.kl = i == 77 ? 9.0 : i / 200.0, .same_top = i % 4 != 0, .nll = 1, .reference_nll = 0.5},
        i + 1 < 200);
  }
  const ErrorSummary s = SummarizeErrors(errors);
  EXPECT_NEAR(s.kl_mean, (199 * 200 / 2 - 77) / 200.0 / 200 + 9.0 / 200, 1e-12);
  EXPECT_DOUBLE_EQ(s.kl_p50, 100 / 200.0);  // one of the lower half is the worst
  EXPECT_DOUBLE_EQ(s.kl_p99, 198 / 200.0);
  EXPECT_EQ(s.kl_worst, 9);
  EXPECT_EQ(s.worst_pos, 1077);
  EXPECT_DOUBLE_EQ(s.top1, 0.75);
  EXPECT_DOUBLE_EQ(s.perplexity, std::exp(1));
  EXPECT_DOUBLE_EQ(s.reference_perplexity, std::exp(0.5));
  EXPECT_EQ(errors.nll.size(), 199u);
  EXPECT_EQ(SummarizeErrors({}).worst_pos, -1);
}

TEST(RelativeL2, IsTheRatioOfNorms) {
  EXPECT_DOUBLE_EQ(RelativeL2(std::vector<float>{3, 4}, std::vector<float>{3, 0}), 4 / 3.0);
  EXPECT_EQ(RelativeL2(std::vector<float>{0, 0}, std::vector<float>{0, 0}), 0);
  EXPECT_TRUE(std::isinf(RelativeL2(std::vector<float>{1}, std::vector<float>{0})));
}

}  // namespace
}  // namespace kvasir
