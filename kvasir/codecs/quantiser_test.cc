#include "kvasir/codecs/quantiser.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "kvasir/codecs/code_table.h"
#include "kvasir/kernels/half.h"

namespace kvasir {
namespace {

std::vector<float> Random(int n, float mean, float sigma, uint32_t seed) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal(mean, sigma);
  std::vector<float> x(n);
  for (float& v : x) v = normal(rng);
  return x;
}

// Half the distance between neighbouring f16 numbers around x.
double HalfUlp16(float x) {
  const int exponent = std::max(std::ilogb(std::max(std::fabs(x), 0x1p-14f)), -14);
  return std::ldexp(0.5, exponent - 10);
}

TEST(Quantiser, ErrorsStayWithinHalfAStep) {
  for (int bits = 1; bits <= 8; ++bits) {
    for (uint32_t seed = 0; seed < 50; ++seed) {
      const std::vector<float> x = Random(1 + seed % 40, (seed % 5) * 7.0f - 14, 0.3f + seed, seed);
      const auto top = static_cast<float>((1 << bits) - 1);
      const Quantiser min_max(GridRule::kMinMax, bits), zero(GridRule::kIntegerZero, bits);
      const Grid a = min_max.Fit(x), b = zero.Fit(x);
      for (float v : x) {
        const float got = min_max.Value(min_max.Code(v, a, nullptr), a, nullptr);
        const double rounding = HalfUlp16(a.o) + top * HalfUlp16(a.s);
        EXPECT_TRUE(std::fabs(got - v) <= a.s / 2 + rounding + 1e-6 * std::fabs(v))
            << bits << " bits: " << got << " for " << v;
        // The ends of the range may lie half a step further out, since zero is on the grid.
        const float other = zero.Value(zero.Code(v, b, nullptr), b, nullptr);
        EXPECT_TRUE(std::fabs(other - v) <= b.s + 2 * top * HalfUlp16(b.s) + 1e-6 * std::fabs(v))
            << bits << " bits: " << other << " for " << v;
      }
    }
  }
}

TEST(Quantiser, ConstantGroupsAreExact) {
  for (int bits : {1, 2, 3, 4, 8}) {
    for (float value : {0.0f, 1.0f, -2.5f, 1000.0f, 0x1p-24f}) {
      const std::vector<float> x(32, value);
      const Quantiser quantiser(GridRule::kMinMax, bits);
      const Grid grid = quantiser.Fit(x);
      EXPECT_EQ(grid.s, 0.0f);
      EXPECT_EQ(quantiser.Code(value, grid, nullptr), 0);
      EXPECT_EQ(quantiser.Value(0, grid, nullptr), value);
    }
  }
}

// Of smooth values: s^2 / 12, so each bit more divides it by ((2^(b+1) - 1) / (2^b - 1))^2.
TEST(Quantiser, SquaredErrorsFallAsTheStepsDo) {
  std::mt19937 rng(9);
  std::uniform_real_distribution<float> uniform(-3, 5);
  double last = 0;
  for (int bits = 2; bits <= 8; ++bits) {
    const Quantiser quantiser(GridRule::kMinMax, bits);
    double squares = 0, steps = 0;
    int n = 0;
    for (int group = 0; group < 2000; ++group) {
      std::vector<float> x(64);
      for (float& v : x) v = uniform(rng);
      const Grid grid = quantiser.Fit(x);
      for (float v : x) {
        squares +=
            std::pow(quantiser.Value(quantiser.Code(v, grid, nullptr), grid, nullptr) - v, 2);
        steps += std::pow(double{grid.s}, 2) / 12;
        ++n;
      }
    }
    EXPECT_NEAR(squares / steps, 1, 0.04) << bits;
    const double levels = (1 << bits) - 1, fewer = (1 << (bits - 1)) - 1;
    if (bits > 2) {
      EXPECT_NEAR(last / (squares / n) / std::pow(levels / fewer, 2), 1, 0.06) << bits;
    }
    last = squares / n;
  }
}

// What each rule does halfway between codes, as its comment says.
TEST(Quantiser, RoundsHalvesAsTheFormatSays) {
  const auto decode = [](GridRule rule, int bits, std::vector<float> x) {
    const Quantiser quantiser(rule, bits);
    const Grid grid = quantiser.Fit(x);
    for (float& v : x) v = quantiser.Value(quantiser.Code(v, grid, nullptr), grid, nullptr);
    return x;
  };
  using Row = std::vector<float>;
  // Steps of 1 from 0 to 15, from -127 to 127, from -8 to 7, from -8 to 7.
  EXPECT_EQ(decode(GridRule::kMinMax, 4, {0, 15, 0.5f, 1.5f, 2.5f}), (Row{0, 15, 0, 2, 2}));
  EXPECT_EQ(decode(GridRule::kIntegerZero, 4, {-5, 10, 0.5f, 1.5f, -0.5f}), (Row{-5, 10, 0, 2, 0}));
  EXPECT_EQ(decode(GridRule::kSymmetric, 8, {127, 0.5f, -0.5f, 1.5f, 0.49999997f}),
            (Row{127, 1, -1, 2, 0}));
  EXPECT_EQ(decode(GridRule::kSigned, 4, {-8, 0.5f, -0.5f, 1.25f, 7.75f}), (Row{-8, 1, 0, 1, 7}));
  EXPECT_EQ(decode(GridRule::kPowerOfTwo, 4, {-7, 0.5f, 1.5f, 2.5f, 7.75f}), (Row{-7, 0, 2, 2, 7}));
}

TEST(Quantiser, AClippedRangeIsShorterAtBothEnds) {
  const Quantiser whole(GridRule::kMinMax, 8), clipped(GridRule::kMinMax, 8, 0.5f);
  const std::vector<float> x = {10, 14, 12, 11.5f};
  const Grid grid = clipped.Fit(x);
  EXPECT_NEAR(grid.s, whole.Fit(x).s / 2, 1e-5);
  EXPECT_EQ(clipped.Value(clipped.Code(10, grid, nullptr), grid, nullptr), 11);
  EXPECT_NEAR(clipped.Value(clipped.Code(14, grid, nullptr), grid, nullptr), 13, 1e-2);
  EXPECT_NEAR(clipped.Value(clipped.Code(11.5f, grid, nullptr), grid, nullptr), 11.5, 1e-2);
  // Zero stays zero where it is a code.
  const Quantiser zero(GridRule::kIntegerZero, 2, 0.8f);
  const Grid other = zero.Fit(Random(32, 0.5f, 1, 4));
  EXPECT_EQ(zero.Value(zero.Code(0, other, nullptr), other, nullptr), 0.0f);
}

TEST(Quantiser, IntegerZeroKeepsZero) {
  for (float mean : {-30.0f, -1.0f, 0.0f, 1.0f, 30.0f}) {
    const Quantiser quantiser(GridRule::kIntegerZero, 4);
    const Grid grid = quantiser.Fit(Random(32, mean, 1, 3));
    EXPECT_EQ(quantiser.Value(quantiser.Code(0, grid, nullptr), grid, nullptr), 0.0f) << mean;
  }
}

TEST(Quantiser, ScalesTooSmallForHalfDecodeToTheOffset) {
  for (GridRule rule : {GridRule::kMinMax, GridRule::kIntegerZero, GridRule::kSymmetric,
                        GridRule::kSigned, GridRule::kAbsMax, GridRule::kRange, GridRule::kNorm,
                        GridRule::kPowerOfTwo, GridRule::kIq4nl}) {
    const std::vector<float> x = {1e-40f, -1e-40f, 2e-39f, 0.0f};
    const Quantiser quantiser(rule, 4);
    const Grid grid = quantiser.Fit(x);
    const std::span<const float> table = NormalTable(4);
    for (float v : x) {
      EXPECT_EQ(quantiser.Value(quantiser.Code(v, grid, table.data()), grid, table.data()), 0.0f);
    }
  }
}

TEST(Quantiser, E4m3RoundsToTheNearest) {
  // Every positive code and the midpoints between neighbours, which go to the even code.
  for (int code = 0; code < 0x7e; ++code) {
    const float low = E4m3ToFloat(static_cast<uint8_t>(code));
    const float high = E4m3ToFloat(static_cast<uint8_t>(code + 1));
    const float middle = (low + high) / 2;
    EXPECT_EQ(FloatToE4m3(low), code);
    EXPECT_EQ(FloatToE4m3(middle), code % 2 == 0 ? code : code + 1) << middle;
    EXPECT_EQ(FloatToE4m3(std::nextafter(middle, 0.0f)), code);
    EXPECT_EQ(FloatToE4m3(std::nextafter(middle, high)), code + 1);
    EXPECT_EQ(FloatToE4m3(-low), code == 0 ? 0 : code | 0x80);
  }
  EXPECT_EQ(E4m3ToFloat(FloatToE4m3(1e30f)), 448);
  EXPECT_EQ(E4m3ToFloat(FloatToE4m3(-INFINITY)), -448);
  EXPECT_EQ(FloatToE4m3(NAN), 0);
}

TEST(CodeTable, NormalTablesAreTheKnownOnes) {
  // Max, 1960, table I.
  EXPECT_NEAR(NormalTable(1)[1], 0.7980, 1e-3);
  EXPECT_NEAR(NormalTable(2)[2], 0.4528, 1e-3);
  EXPECT_NEAR(NormalTable(2)[3], 1.510, 1e-3);
  EXPECT_NEAR(NormalTable(3)[4], 0.2451, 1e-3);
  EXPECT_NEAR(NormalTable(3)[7], 2.152, 1e-3);
  EXPECT_NEAR(NormalTable(4)[8], 0.1284, 2e-3);
  EXPECT_NEAR(NormalTable(4)[15], 2.733, 3e-3);
}

TEST(CodeTable, FittedTablesFindClusters) {
  std::vector<float> x;
  for (int i = 0; i < 400; ++i) x.push_back(std::vector{-0.9f, -0.1f, 0.3f, 1.0f}[i % 4]);
  const std::vector<float> table = FitTable(x, 2);
  ASSERT_EQ(table.size(), 4u);
  EXPECT_NEAR(table[0], -0.9, 0.003);
  EXPECT_NEAR(table[1], -0.1, 0.003);
  EXPECT_NEAR(table[2], 0.3, 0.003);
  EXPECT_NEAR(table[3], 1.0, 0.003);
  EXPECT_EQ(FitTable({}, 4).size(), 16u);
}

}  // namespace
}  // namespace kvasir
