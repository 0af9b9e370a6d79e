// 2^x and tanh as the scalar kernels define them.
#pragma once

#include <cmath>

#include "kvasir/kernels/attend.h"

namespace kvasir {
namespace {

// 2^f for f in [0, 1].
inline float Exp2Fraction(float f) {
  float p = kExp2C5;
  p = std::fma(p, f, kExp2C4);
  p = std::fma(p, f, kExp2C3);
  p = std::fma(p, f, kExp2C2);
  p = std::fma(p, f, kExp2C1);
  return std::fma(p, f, 1.0f);
}

// value * 2^n for integer-valued n; zero below the normal range.
inline float ScaleByPower(float value, float n) {
  if (n < -126) return 0;
  return std::ldexp(value, static_cast<int>(n));
}

// 2^(x - exponent) for an integer-valued exponent.
inline float Exp2(float x, float exponent) {
  const float n = std::floor(x);
  return ScaleByPower(Exp2Fraction(x - n), n - exponent);
}

// tanh through 2^y, so that every variant can follow it step by step.
inline float Tanh(float y) {
  const float magnitude = std::fmin(std::fabs(y), 10.0f);
  const float e = Exp2(magnitude * (2 * kLog2E), 0);
  return std::copysign(1.0f - 2.0f / (e + 1.0f), y);
}

}  // namespace
}  // namespace kvasir
