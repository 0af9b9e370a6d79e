#include "kvasir/policy/selectors/byte_bounds.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
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

std::vector<float> Scores(const ByteBounds& bounds, ByteBounds::Level level, const QueryRows& rows,
                          int64_t* stride) {
  std::vector<int32_t> tiles(static_cast<size_t>((bounds.n_unit(level) + 15) / 16));
  std::iota(tiles.begin(), tiles.end(), 0);
  *stride = static_cast<int64_t>(tiles.size()) * 16;
  std::vector<uint8_t> q(rows.n_row * ScoreQueryBytes(ScoreQuads(rows.head_dim)));
  std::vector<float> steps(rows.n_row), scores(rows.n_row * *stride);
  bounds.Prepare(rows, q.data(), steps.data());
  bounds.Score(level, q.data(), steps.data(), rows.n_row, tiles, scores.data(), *stride);
  return scores;
}

// Every bound of both levels against every key, as f32 and as f16.
void ExpectBounds(const ByteBounds& bounds, const std::vector<float>& k, int d, std::mt19937& rng) {
  const std::vector<float> q = Random(int64_t{2} * d, 2, rng);
  QueryRows rows;
  rows.q = q.data();
  rows.n_row = 2;
  rows.head_dim = d;
  const std::vector<double> magnitude = bounds.Magnitudes(rows);
  for (ByteBounds::Level level : {ByteBounds::kPage, ByteBounds::kSuper}) {
    int64_t stride = 0;
    const std::vector<float> scores = Scores(bounds, level, rows, &stride);
    for (int r = 0; r < 2; ++r) {
      for (int64_t t = 0; t < bounds.n_kv(); ++t) {
        const int64_t unit = t / ByteBounds::unit_tokens(level);
        const double bound = bounds.Bound(level, unit, &q[static_cast<size_t>(r * d)]);
        const float score = scores[static_cast<size_t>(r * stride + unit)];
        ASSERT_GE(score * (1 + 1e-6) + 1e-6 * magnitude[r], bound);
        for (bool half : {false, true}) {
          double dot = 0;
          for (int c = 0; c < d; ++c) {
            const float x = k[static_cast<size_t>(t * d + c)];
            dot += double{q[static_cast<size_t>(r * d + c)]} *
                   (half ? HalfToFloat(FloatToHalf(x)) : x);
          }
          ASSERT_GE(bound * (1 + 1e-14) + 1e-14 * magnitude[r], dot)
              << "token " << t << " row " << r << " half " << half << " level " << level;
          ASSERT_LE(std::fabs(dot), magnitude[r] * (1 + 1e-14));
        }
      }
    }
  }
}

void ExpectSame(const ByteBounds& a, const ByteBounds& b, int d, std::mt19937& rng) {
  const std::vector<float> q = Random(d, 1, rng);
  ASSERT_EQ(a.n_kv(), b.n_kv());
  for (ByteBounds::Level level : {ByteBounds::kPage, ByteBounds::kSuper}) {
    for (int64_t unit = 0; unit < a.n_unit(level); ++unit) {
      ASSERT_EQ(a.Bound(level, unit, q.data()), b.Bound(level, unit, q.data()))
          << "level " << level << " unit " << unit;
    }
  }
}

TEST(ByteBounds, HoldForEveryKeyAtBothLevels) {
  std::mt19937 rng(1);
  for (int d : {16, 18, 64, 80, 128, 256}) {
    for (float spread : {1e-9f, 1e-4f, 1.0f, 3000.0f}) {
      for (int64_t n : {1, 16, 17, 256, 257, 700}) {
        const std::vector<float> k = Random(n * d, spread, rng);
        ByteBounds bounds(d, nullptr);
        ASSERT_TRUE(bounds.Append(n, k.data(), d).ok());
        ExpectBounds(bounds, k, d, rng);
      }
    }
  }
}

TEST(ByteBounds, AreTheSameHoweverKeysArriveAndGrow) {
  std::mt19937 rng(2);
  constexpr int d = 32;
  constexpr int64_t n = 700;
  std::vector<float> k = Random(n * d, 1, rng);
  // Ever larger keys, channel by channel, so that steps are raised often, and once by far.
  for (int64_t t = 0; t < n; ++t) {
    for (int c = 0; c < d; ++c) {
      k[static_cast<size_t>(t * d + c)] *=
          std::exp2(static_cast<float>(t * (c % 5)) / 400) * (t > 600 && c == 3 ? 400.0f : 1.0f);
    }
  }
  ByteBounds whole(d, nullptr);
  ASSERT_TRUE(whole.Append(n, k.data(), d).ok());
  ExpectBounds(whole, k, d, rng);
  for (int64_t step : {1, 7, 16, 33, 250}) {
    ByteBounds parts(d, nullptr);
    for (int64_t at = 0; at < n; at += step) {
      ASSERT_TRUE(parts.Append(std::min(step, n - at), &k[static_cast<size_t>(at * d)], d).ok());
    }
    ExpectSame(parts, whole, d, rng);
    ExpectBounds(parts, k, d, rng);
  }
}

TEST(ByteBounds, HoldAfterTruncationAndNewKeys) {
  std::mt19937 rng(3);
  constexpr int d = 16;
  std::vector<float> k;
  ByteBounds bounds(d, nullptr);
  for (int round = 0; round < 60; ++round) {
    if (round % 3 == 2) {
      const int64_t keep = std::uniform_int_distribution<int64_t>(0, bounds.n_kv())(rng);
      bounds.Truncate(keep);
      k.resize(static_cast<size_t>(keep * d));
    }
    const std::vector<float> more = Random((1 + round * 17 % 90) * d, 1 + round % 5, rng);
    ASSERT_TRUE(bounds.Append(static_cast<int64_t>(more.size()) / d, more.data(), d).ok());
    k.insert(k.end(), more.begin(), more.end());
    ExpectBounds(bounds, k, d, rng);
  }
  bounds.Truncate(0);
  ByteBounds fresh(d, nullptr);
  ASSERT_TRUE(bounds.Append(300, k.data(), d).ok());
  ASSERT_TRUE(fresh.Append(300, k.data(), d).ok());
  ExpectSame(bounds, fresh, d, rng);
}

TEST(ByteBounds, AreCloseToTheExtremes) {
  std::mt19937 rng(4);
  constexpr int d = 64;
  const std::vector<float> k = Random(256 * d, 1, rng), q = Random(d, 1, rng);
  ByteBounds bounds(d, nullptr);
  ASSERT_TRUE(bounds.Append(256, k.data(), d).ok());
  for (int page = 0; page < 16; ++page) {
    double exact = 0;
    for (int c = 0; c < d; ++c) {
      double best = -1e30;
      for (int t = page * 16; t < page * 16 + 16; ++t) {
        best =
            std::max(best, double{q[static_cast<size_t>(c)]} * k[static_cast<size_t>(t * d + c)]);
      }
      exact += best;
    }
    const double bound = bounds.Bound(ByteBounds::kPage, page, q.data());
    EXPECT_GE(bound, exact);
    EXPECT_LE(bound, exact * 1.03);
  }
}

TEST(ByteBounds, TakeEightAndAHalfBytesATokenAtDimension64AndTheirSizes) {
  std::mt19937 rng(5);
  for (int64_t n : {4096, 65536}) {
    const std::vector<float> k = Random(n * 64, 1, rng);
    ByteLedger ledger;
    SlabArena arena(ledger, ByteKind::kKv);
    ByteBounds bounds(64, &arena);
    ASSERT_TRUE(bounds.Append(n, k.data(), 64).ok());
    const int64_t sizes = n / 16 * 2 + std::max<int64_t>(n / 256 * 2, 64);
    EXPECT_NEAR(static_cast<double>(bounds.bytes()), 8.5 * n + sizes + 64 * 4, 64);
    EXPECT_EQ(IndexBytes(arena), bounds.bytes());
    EXPECT_EQ(ledger.held(), ledger.held(ByteKind::kIndex));
  }
}

}  // namespace
}  // namespace kvasir
