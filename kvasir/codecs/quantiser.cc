#include "kvasir/codecs/quantiser.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "kvasir/kernels/half.h"

namespace kvasir {
namespace {

constexpr float kMaxHalf = 65504.0f;

uint16_t ToHalf(float x) { return FloatToHalf(std::clamp(x, -kMaxHalf, kMaxHalf)); }

uint8_t Clamp(float code, int top) {
  return static_cast<uint8_t>(std::clamp(code, 0.0f, static_cast<float>(top)));
}

uint8_t Nearest(float x, const float* table, int n) {
  const int above = static_cast<int>(std::lower_bound(table, table + n, x) - table);
  if (above == 0) return 0;
  if (above == n) return static_cast<uint8_t>(n - 1);
  return static_cast<uint8_t>(x - table[above - 1] <= table[above] - x ? above - 1 : above);
}

float AbsMax(std::span<const float> x) {
  float max = 0;
  for (float v : x) max = std::max(max, std::fabs(v));
  return max;
}

// The first of those with the largest magnitude.
float Extreme(std::span<const float> x) {
  float extreme = 0;
  for (float v : x) {
    if (std::fabs(v) > std::fabs(extreme)) extreme = v;
  }
  return extreme;
}

}  // namespace

float FiniteHalfRange(float x) { return std::isnan(x) ? 0.0f : std::clamp(x, -kMaxHalf, kMaxHalf); }

uint8_t FloatToE4m3(float x) {
  const float magnitude = std::fabs(x);
  const uint8_t sign = std::signbit(x) ? 0x80 : 0;
  if (!(magnitude > 0)) return 0;
  if (magnitude >= 448) return sign | 0x7e;
  // Counts of the step at this magnitude; a carry out of the mantissa raises the exponent by
  // itself.
  const int exponent = std::max(std::ilogb(magnitude), -6);
  const int count = static_cast<int>(std::nearbyint(std::ldexp(magnitude, 3 - exponent)));
  return static_cast<uint8_t>(sign | std::min((exponent + 6) * 8 + count, 0x7e));
}

float E4m3ToFloat(uint8_t code) {
  const int exponent = code >> 3 & 15;
  const float magnitude = std::ldexp(static_cast<float>(exponent == 0 ? code & 7 : (code & 7) + 8),
                                     std::max(exponent, 1) - 10);
  return code & 0x80 ? -magnitude : magnitude;
}

CodeKind Quantiser::kind() const {
  switch (rule_) {
    case GridRule::kAbsMax:
    case GridRule::kUnit: return CodeKind::kE4m3;
    case GridRule::kRange:
    case GridRule::kNorm: return CodeKind::kTable;
    default: return CodeKind::kInteger;
  }
}

bool Quantiser::stores_offset() const {
  return rule_ == GridRule::kMinMax || rule_ == GridRule::kIntegerZero || rule_ == GridRule::kRange;
}

Grid Quantiser::Fit(std::span<const float> x) const {
  Grid grid;
  if (rule_ == GridRule::kUnit) {
    grid.s = grid.inverse = 1;
    return grid;
  }
  if (x.empty()) return grid;
  const auto [low, high] = std::minmax_element(x.begin(), x.end());
  float min = *low, max = *high, step = 0;
  const auto top = static_cast<float>((1 << bits_) - 1);
  switch (rule_) {
    case GridRule::kIntegerZero:
      min = std::min(min, 0.0f);
      max = std::max(max, 0.0f);
      [[fallthrough]];
    case GridRule::kMinMax: step = (max - min) / top; break;
    case GridRule::kSymmetric: step = AbsMax(x) / (Zero() - 1); break;
    case GridRule::kSigned: step = Extreme(x) / -Zero(); break;
    case GridRule::kAbsMax: step = AbsMax(x) / 448; break;
    case GridRule::kRange: step = (max - min) / 2; break;
    case GridRule::kNorm: {
      double squares = 0;
      for (float v : x) squares += double{v} * v;
      step = static_cast<float>(std::sqrt(squares / static_cast<double>(x.size())));
      break;
    }
    case GridRule::kUnit: break;
  }
  grid.scale = ToHalf(step);
  grid.s = HalfToFloat(grid.scale);
  const bool unrounded = rule_ == GridRule::kSymmetric || rule_ == GridRule::kSigned;
  if (grid.s != 0) grid.inverse = 1.0f / (unrounded ? step : grid.s);
  if (rule_ == GridRule::kMinMax) grid.offset = ToHalf(min);
  if (rule_ == GridRule::kRange) grid.offset = ToHalf(min + (max - min) / 2);
  if (rule_ == GridRule::kIntegerZero)
    grid.offset = Clamp(std::nearbyint(-min * grid.inverse), 255);
  FillOffsets(&grid.offset, &grid.s, 1, &grid.o);
  return grid;
}

void Quantiser::FillOffsets(const uint16_t* stored, const float* s, int n, float* o) const {
  for (int i = 0; i < n; ++i) {
    switch (rule_) {
      case GridRule::kMinMax:
      case GridRule::kRange: o[i] = HalfToFloat(stored[i]); break;
      case GridRule::kIntegerZero: o[i] = -s[i] * static_cast<float>(stored[i]); break;
      case GridRule::kSymmetric:
      case GridRule::kSigned: o[i] = -s[i] * Zero(); break;
      default: o[i] = 0;
    }
  }
}

uint8_t Quantiser::Code(float x, const Grid& grid, const float* table) const {
  const int top = (1 << bits_) - 1;
  switch (rule_) {
    case GridRule::kMinMax: {
      if (grid.s == 0) return 0;
      return Clamp(std::nearbyint((x - grid.o) / grid.s), top);
    }
    case GridRule::kIntegerZero: {
      if (grid.s == 0) return 0;
      return Clamp(std::nearbyint(x / grid.s) + static_cast<float>(grid.offset), top);
    }
    case GridRule::kSymmetric: return Clamp(std::round(x * grid.inverse) + Zero(), top);
    case GridRule::kSigned: return Clamp(std::trunc(x * grid.inverse + (Zero() + 0.5f)), top);
    case GridRule::kAbsMax:
    case GridRule::kUnit: return FloatToE4m3(x * grid.inverse);
    case GridRule::kRange:
    case GridRule::kNorm: return Nearest((x - grid.o) * grid.inverse, table, 1 << bits_);
  }
  return 0;
}

float Quantiser::Value(uint8_t code, const Grid& grid, const float* table) const {
  float value = code;
  if (kind() == CodeKind::kE4m3) value = E4m3ToFloat(code);
  if (kind() == CodeKind::kTable) value = table[code];
  return std::fma(value, grid.s, grid.o);
}

}  // namespace kvasir
