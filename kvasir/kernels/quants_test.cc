#include "kvasir/kernels/quants.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "kvasir/kernels/half.h"
#include "kvasir/kernels/matmul.h"

namespace kvasir {
namespace {

constexpr uint16_t kOne = 0x3c00;   // 1.0 as a half
constexpr uint16_t kHalf = 0x3800;  // 0.5

template <typename Block>
std::vector<float> Decode(TensorType type, const Block& block, int n) {
  std::vector<float> out(static_cast<size_t>(n));
  DequantizeRow(type, &block, out.data(), n);
  return out;
}

std::vector<float> Gaussian(int64_t n, uint32_t seed, float mean = 0.0f) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(mean, 1.0f);
  std::vector<float> x(static_cast<size_t>(n));
  for (float& v : x) v = normal(random);
  return x;
}

double RelativeError(const std::vector<float>& x, const std::vector<float>& y) {
  double error = 0, power = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    error += (x[i] - y[i]) * (x[i] - y[i]);
    power += x[i] * x[i];
  }
  return std::sqrt(error / power);
}

std::vector<float> RoundTrip(TensorType type, const std::vector<float>& x) {
  std::vector<std::byte> bytes(RowBytes(type, x.size()));
  QuantizeRow(type, x.data(), bytes.data(), static_cast<int64_t>(x.size()));
  std::vector<float> y(x.size());
  DequantizeRow(type, bytes.data(), y.data(), static_cast<int64_t>(y.size()));
  return y;
}

TEST(Quants, Q4_0KeepsTheFirstHalfInLowNibbles) {
  BlockQ4_0 block{kOne, {}};
  block.qs[3] = 0xf2;
  const auto x = Decode(TensorType::kQ4_0, block, 32);
  EXPECT_EQ(x[3], 2 - 8);
  EXPECT_EQ(x[19], 15 - 8);
  EXPECT_EQ(x[0], -8);
}

TEST(Quants, Q4_1AddsItsMinimum) {
  BlockQ4_1 block{kHalf, kOne, {}};
  block.qs[15] = 0x71;
  const auto x = Decode(TensorType::kQ4_1, block, 32);
  EXPECT_EQ(x[15], 1.5f);
  EXPECT_EQ(x[31], 4.5f);
  EXPECT_EQ(x[0], 1.0f);
}

TEST(Quants, FiveBitTypesTakeTheFifthBitFromAWord) {
  BlockQ5_0 symmetric{kOne, {0, 0, 0x02, 0x80}, {}};  // bits 17 and 31
  symmetric.qs[1] = 0x30;
  auto x = Decode(TensorType::kQ5_0, symmetric, 32);
  EXPECT_EQ(x[17], 16 + 3 - 16);
  EXPECT_EQ(x[31], 0);
  EXPECT_EQ(x[1], -16);
  BlockQ5_1 range{kOne, kHalf, {0x10, 0, 0, 0}, {}};
  range.qs[4] = 0x0a;
  x = Decode(TensorType::kQ5_1, range, 32);
  EXPECT_EQ(x[4], 26.5f);
  EXPECT_EQ(x[20], 0.5f);
}

TEST(Quants, ScalesOfSuperBlocksSpreadOverTwelveBytes) {
  uint8_t packed[12] = {};
  packed[1] = 0x40 | 0x2a;  // scale[1] = 42, bit 4 of scale[5]
  packed[6] = 0xc0 | 0x05;  // min[2] = 5, bits 5-4 of min[6]
  packed[9] = 0x03;         // low bits of scale[5]
  packed[10] = 0xb0;        // low bits of min[6]
  const SuperScales s = UnpackScales(packed);
  EXPECT_EQ(s.scale[1], 42);
  EXPECT_EQ(s.scale[5], 16 + 3);
  EXPECT_EQ(s.min[2], 5);
  EXPECT_EQ(s.min[6], 48 + 11);
  EXPECT_EQ(s.min[5], 0);
}

TEST(Quants, Q4_KAndQ5_KScaleRunsOf32) {
  BlockQ4_K block{kOne, kHalf, {}, {}};
  block.scales[2] = 7;   // scale[2]
  block.scales[6] = 4;   // min[2]
  block.scales[11] = 9;  // scale[7]
  block.qs[32] = 0x05;   // element 64, run 2
  block.qs[127] = 0xc0;  // element 255, run 7
  auto x = Decode(TensorType::kQ4_K, block, 256);
  EXPECT_EQ(x[64], 7 * 5 - 2);
  EXPECT_EQ(x[65], -2);
  EXPECT_EQ(x[255], 9 * 12);
  EXPECT_EQ(x[0], 0);
  BlockQ5_K five{kOne, kHalf, {}, {}, {}};
  five.scales[2] = 7;
  five.qh[9] = 1 << 2;  // bit 4 of element 64 + 9
  five.qs[32 + 9] = 0x01;
  x = Decode(TensorType::kQ5_K, five, 256);
  EXPECT_EQ(x[73], 7 * 17);
  EXPECT_EQ(x[72], 0);
}

TEST(Quants, Q6_KJoinsNibblesAndPairsOfBits) {
  BlockQ6_K block{{}, {}, {}, kHalf};
  for (int8_t& s : block.scales) s = -2;
  block.ql[64 + 32 + 5] = 0xd3;  // second half: k = 1 low, k = 3 high
  block.qh[32 + 5] = 0x84;       // k = 1: 1, k = 3: 2
  const auto x = Decode(TensorType::kQ6_K, block, 256);
  EXPECT_EQ(x[128 + 32 + 5], -(16 + 3 - 32));
  EXPECT_EQ(x[128 + 96 + 5], -(32 + 13 - 32));
  EXPECT_EQ(x[0], 32);
}

TEST(Quants, Q8_0RoundsHalfAwayFromZero) {
  std::vector<float> x(32, 0.0f);
  x[0] = 127.0f;  // d = 1
  x[1] = 2.5f;
  x[2] = -2.5f;
  x[3] = 2.4f;
  const auto y = RoundTrip(TensorType::kQ8_0, x);
  EXPECT_EQ(y[0], 127);
  EXPECT_EQ(y[1], 3);
  EXPECT_EQ(y[2], -3);
  EXPECT_EQ(y[3], 2);
}

TEST(Quants, Q4_0GivesItsLargestValueTheLowestCode) {
  std::vector<float> x(32, 1.0f);
  x[7] = -16.0f;  // d = 2
  x[8] = 100.0f / 7;
  const auto y = RoundTrip(TensorType::kQ4_0, x);
  EXPECT_EQ(y[7], -16.0f);
  EXPECT_EQ(y[8], 14.0f);
  EXPECT_EQ(y[0], 2.0f);  // 8.5 + 0.5 truncates to 9
}

// Relative root-mean-square error on Gaussian rows; the bounds hold the norms of each format.
TEST(Quants, RoundTripErrorIsTheFormatsOwn) {
  const struct {
    TensorType type;
    double low, high;
  } kNorms[] = {
      {TensorType::kF32, 0, 0},          {TensorType::kF16, 1e-4, 3e-4},
      {TensorType::kBF16, 1e-3, 2.4e-3}, {TensorType::kQ8_0, 4e-3, 7e-3},
      {TensorType::kQ6_K, 0.014, 0.021}, {TensorType::kQ5_K, 0.028, 0.040},
      {TensorType::kQ5_1, 0.034, 0.044}, {TensorType::kQ5_0, 0.038, 0.050},
      {TensorType::kQ4_K, 0.060, 0.080}, {TensorType::kQ4_1, 0.070, 0.090},
      {TensorType::kQ4_0, 0.080, 0.100},
  };
  const auto x = Gaussian(256 * 64, 1);
  for (const auto& norm : kNorms) {
    const double error = RelativeError(x, RoundTrip(norm.type, x));
    EXPECT_GE(error, norm.low) << InfoOf(norm.type).name;
    EXPECT_LE(error, norm.high) << InfoOf(norm.type).name;
  }
}

TEST(Quants, ZerosConstantsAndOneSidedRowsSurvive) {
  for (TensorType type :
       {TensorType::kQ8_0, TensorType::kQ4_0, TensorType::kQ4_1, TensorType::kQ5_0,
        TensorType::kQ5_1, TensorType::kQ4_K, TensorType::kQ5_K, TensorType::kQ6_K}) {
    const std::vector<float> zeros(256, 0.0f);
    EXPECT_EQ(RoundTrip(type, zeros), zeros) << InfoOf(type).name;
    const std::vector<float> constant(256, -3.0f);
    EXPECT_LT(RelativeError(constant, RoundTrip(type, constant)), 0.02) << InfoOf(type).name;
    const auto shifted = Gaussian(256, 2, 6.0f);
    EXPECT_LT(RelativeError(shifted, RoundTrip(type, shifted)), 0.12) << InfoOf(type).name;
  }
}

TEST(Quants, ValuesThatAreNotFiniteDoNoHarm) {
  std::vector<float> x(256, 1.0f);
  x[3] = std::numeric_limits<float>::quiet_NaN();
  x[40] = std::numeric_limits<float>::infinity();
  x[200] = -std::numeric_limits<float>::infinity();
  for (TensorType type :
       {TensorType::kQ8_0, TensorType::kQ4_0, TensorType::kQ4_1, TensorType::kQ5_0,
        TensorType::kQ5_1, TensorType::kQ4_K, TensorType::kQ5_K, TensorType::kQ6_K}) {
    EXPECT_EQ(RoundTrip(type, x).size(), x.size());  // the sanitizers are the judge
  }
}

}  // namespace
}  // namespace kvasir
