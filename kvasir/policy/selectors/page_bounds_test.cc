#include "kvasir/policy/selectors/page_bounds.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "kvasir/kernels/half.h"
#include "kvasir/policy/selectors/selector_testing.h"

namespace kvasir {
namespace {

std::vector<float> Random(int64_t n, float spread, std::mt19937& rng) {
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> x(static_cast<size_t>(n));
  for (float& value : x) value = normal(rng);
  return x;
}

QueryRows Rows(const std::vector<float>& q, int head_dim) {
  QueryRows rows;
  rows.q = q.data();
  rows.n_row = static_cast<int>(q.size()) / head_dim;
  rows.head_dim = head_dim;
  return rows;
}

double Dot(const float* a, const float* b, int n, bool half) {
  double sum = 0;
  for (int i = 0; i < n; ++i) {
    sum += double{a[i]} * (half ? HalfToFloat(FloatToHalf(b[i])) : b[i]);
  }
  return sum;
}

// Every bound against every key of its page, as f32 and as f16.
void ExpectBounds(const PageBounds& bounds, const std::vector<float>& k, int d, std::mt19937& rng) {
  const std::vector<float> q = Random(int64_t{3} * d, 2, rng);
  const QueryRows rows = Rows(q, d);
  const int64_t stride = bounds.n_tile() * 16;
  std::vector<float> q2(q.size() * 2), scores(static_cast<size_t>(3 * stride));
  bounds.Score(rows, q2.data(), scores.data(), stride);
  const std::vector<double> magnitude = bounds.Magnitudes(rows);
  for (int r = 0; r < 3; ++r) {
    for (int64_t t = 0; t < bounds.n_kv(); ++t) {
      const int64_t page = t / kPageTokens;
      for (bool half : {false, true}) {
        const double dot =
            Dot(&q[static_cast<size_t>(r * d)], &k[static_cast<size_t>(t * d)], d, half);
        ASSERT_GE(bounds.Bound(page, &q[static_cast<size_t>(r * d)]) * (1 + 1e-14) + 1e-14, dot)
            << "token " << t << " row " << r << " half " << half;
        ASSERT_GE(scores[static_cast<size_t>(r * stride + page)] + d * 1e-7 * magnitude[r], dot);
        ASSERT_LE(std::fabs(dot), magnitude[r] * (1 + 1e-14));
      }
    }
  }
}

TEST(PageBounds, HoldForEveryKeyOfEveryPage) {
  std::mt19937 rng(1);
  for (int d : {16, 24, 64, 80, 128, 256}) {
    for (float spread : {1e-6f, 1e-3f, 1.0f, 300.0f}) {
      for (int64_t n : {1, 15, 16, 17, 255, 256, 257, 700}) {
        const std::vector<float> k = Random(n * d, spread, rng);
        PageBounds bounds(d, nullptr);
        ASSERT_TRUE(bounds.Append(n, k.data(), d).ok());
        ExpectBounds(bounds, k, d, rng);
      }
    }
  }
}

TEST(PageBounds, AreTheSameHoweverKeysArrive) {
  std::mt19937 rng(2);
  constexpr int d = 32;
  const std::vector<float> k = Random(600 * d, 1, rng), q = Random(d, 1, rng);
  PageBounds whole(d, nullptr);
  ASSERT_TRUE(whole.Append(600, k.data(), d).ok());
  for (int64_t step : {1, 7, 16, 33, 250}) {
    PageBounds parts(d, nullptr);
    for (int64_t at = 0; at < 600; at += step) {
      ASSERT_TRUE(parts.Append(std::min(step, 600 - at), &k[static_cast<size_t>(at * d)], d).ok());
    }
    for (int64_t page = 0; page < whole.n_page(); ++page) {
      ASSERT_EQ(parts.Bound(page, q.data()), whole.Bound(page, q.data())) << "page " << page;
    }
  }
}

TEST(PageBounds, HoldAfterTruncationAndNewKeys) {
  std::mt19937 rng(3);
  constexpr int d = 16;
  std::vector<float> k;
  PageBounds bounds(d, nullptr);
  for (int round = 0; round < 60; ++round) {
    const int64_t keep = std::uniform_int_distribution<int64_t>(0, bounds.n_kv())(rng);
    if (round % 3 == 2) {
      bounds.Truncate(keep);
      k.resize(static_cast<size_t>(keep * d));
    }
    const std::vector<float> more = Random((1 + round * 7 % 40) * d, 1 + round % 5, rng);
    ASSERT_TRUE(bounds.Append(static_cast<int64_t>(more.size()) / d, more.data(), d).ok());
    k.insert(k.end(), more.begin(), more.end());
    ExpectBounds(bounds, k, d, rng);
  }
  bounds.Truncate(0);
  PageBounds fresh(d, nullptr);
  ASSERT_TRUE(bounds.Append(40, k.data(), d).ok());
  ASSERT_TRUE(fresh.Append(40, k.data(), d).ok());
  const std::vector<float> q = Random(d, 1, rng);
  for (int64_t page = 0; page < 3; ++page) {
    EXPECT_EQ(bounds.Bound(page, q.data()), fresh.Bound(page, q.data()));
  }
}

TEST(PageBounds, RoundOutwardAtEveryMagnitude) {
  for (float x : {1.0f, 1.0001f, -1.0001f, 0.0f, 1e-9f, -1e-9f, 65504.0f, 65505.0f, 7e4f, -7e4f,
                  3.0e-5f, -6.1e-5f, 0.333333f}) {
    PageBounds bounds(1, nullptr);
    ASSERT_TRUE(bounds.Append(1, &x, 1).ok());
    const float plus = 1, minus = -1;
    EXPECT_GE(bounds.Bound(0, &plus), x);
    EXPECT_LE(-bounds.Bound(0, &minus), x);
    if (std::fabs(x) <= 65504 && std::fabs(x) > 1e-4f) {
      EXPECT_LE(bounds.Bound(0, &plus) - x, std::fabs(x) / 1024) << x;
    }
  }
}

TEST(PageBounds, TakeSixteenBytesATokenAtDimension64) {
  std::mt19937 rng(4);
  for (int64_t n : {256, 4096, 65536}) {
    const std::vector<float> k = Random(n * 64, 1, rng);
    ByteLedger ledger;
    SlabArena arena(ledger, ByteKind::kKv);
    PageBounds bounds(64, &arena);
    ASSERT_TRUE(bounds.Append(n, k.data(), 64).ok());
    EXPECT_EQ(bounds.bytes(), 16 * n + 64 * 4);
    EXPECT_EQ(IndexBytes(arena), bounds.bytes());
    EXPECT_EQ(ledger.held(), ledger.held(ByteKind::kIndex));
  }
}

}  // namespace
}  // namespace kvasir
