#include "kvasir/kernels/half.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace kvasir {
namespace {

// Value of finite half bits by the definition of the format.
double HalfByDefinition(uint16_t bits) {
  const int exponent = bits >> 10 & 31;
  const int mantissa = bits & 1023;
  const double magnitude =
      exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  return bits & 0x8000 ? -magnitude : magnitude;
}

TEST(Half, EveryFiniteHalfWidensExactlyAndNarrowsBack) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    if ((bits & 0x7c00) == 0x7c00) continue;
    const float value = HalfToFloat(static_cast<uint16_t>(bits));
    ASSERT_EQ(static_cast<double>(value), HalfByDefinition(static_cast<uint16_t>(bits))) << bits;
    ASSERT_EQ(FloatToHalf(value), bits);
  }
}

TEST(Half, MidpointsBetweenNeighboursRoundToEven) {
  for (uint16_t bits = 0; bits < 0x7bff; ++bits) {
    const double low = HalfByDefinition(bits);
    const double high = HalfByDefinition(static_cast<uint16_t>(bits + 1));
    const float middle = static_cast<float>((low + high) / 2);  // exact: one bit more than a half
    ASSERT_EQ(FloatToHalf(middle), bits % 2 == 0 ? bits : bits + 1) << bits;
    ASSERT_EQ(FloatToHalf(std::nextafterf(middle, 0.0f)), bits);
    ASSERT_EQ(FloatToHalf(std::nextafterf(middle, 1e9f)), bits + 1);
    ASSERT_EQ(FloatToHalf(-middle), 0x8000 | (bits % 2 == 0 ? bits : bits + 1));
  }
}

TEST(Half, InfinityOverflowAndNanAreKept) {
  const float inf = std::numeric_limits<float>::infinity();
  EXPECT_EQ(HalfToFloat(0x7c00), inf);
  EXPECT_EQ(HalfToFloat(0xfc00), -inf);
  EXPECT_TRUE(std::isnan(HalfToFloat(0x7c01)));
  EXPECT_EQ(FloatToHalf(inf), 0x7c00);
  EXPECT_EQ(FloatToHalf(65504.0f), 0x7bff);
  EXPECT_EQ(FloatToHalf(65519.996f), 0x7bff);
  EXPECT_EQ(FloatToHalf(65520.0f), 0x7c00);
  EXPECT_EQ(FloatToHalf(-1e30f), 0xfc00);
  EXPECT_TRUE(std::isnan(HalfToFloat(FloatToHalf(std::nanf("")))));
}

TEST(Bf16, RoundsToNearestEvenAndKeepsNan) {
  EXPECT_EQ(FloatToBf16(1.0f), 0x3f80);
  EXPECT_EQ(FloatToBf16(1.00390625f), 0x3f80);  // midpoint, down to even
  EXPECT_EQ(FloatToBf16(std::nextafterf(1.00390625f, 2.0f)), 0x3f81);
  EXPECT_EQ(FloatToBf16(1.01171875f), 0x3f82);  // midpoint, up to even
  EXPECT_EQ(FloatToBf16(std::numeric_limits<float>::max()), 0x7f80);
  EXPECT_EQ(Bf16ToFloat(0xc000), -2.0f);
  const float nan_in_low_bits = std::bit_cast<float>(0x7f800001u);
  EXPECT_TRUE(std::isnan(Bf16ToFloat(FloatToBf16(nan_in_low_bits))));
}

}  // namespace
}  // namespace kvasir
