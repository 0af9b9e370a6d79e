#include "kvasir/codecs/quantiser.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "kvasir/kernels/attend.h"
#include "kvasir/kernels/half.h"

namespace kvasir {
namespace {

constexpr float kMaxHalf = 65504.0f;

uint16_t ToHalf(float x) { return FloatToHalf(std::clamp(x, -kMaxHalf, kMaxHalf)); }

// Half to even, for |x| < 2^22; a plain sum, which compilers vectorise where they would call
// nearbyint.
float RoundEven(float x) {
  constexpr float kShift = 0x1.8p23f;
  return (x + kShift) - kShift;
}

// Clamped before it becomes an integer.
float Clamp(float code, float top) {
  code = code > 0 ? code : 0;
  return code < top ? code : top;
}

uint8_t Nearest(float x, const float* table, int n) {
  const int above = static_cast<int>(std::lower_bound(table, table + n, x) - table);
  if (above == 0) return 0;
  if (above == n) return static_cast<uint8_t>(n - 1);
  return static_cast<uint8_t>(x - table[above - 1] <= table[above] - x ? above - 1 : above);
}

// The least-squares scale of codes that are the nearest to x / first, errors weighted by x^2.
float Iq4nlScale(std::span<const float> x, float first) {
  double product = 0, squares = 0;
  for (float v : x) {
    const double value = first == 0 ? 0 : kIq4nlValues[Nearest(v / first, kIq4nlValues, 16)];
    product += double{v} * v * value * v;
    squares += double{v} * v * value * value;
  }
  return squares > 0 ? static_cast<float>(product / squares) : 0.0f;
}

struct Range {
  float min, max;
  float AbsMax() const { return std::max(max, -min); }
};

Range RangeOf(std::span<const float> x) {
  constexpr size_t kLanes = 8;
  float min[kLanes], max[kLanes];
  std::fill_n(min, kLanes, x[0]);
  std::fill_n(max, kLanes, x[0]);
  size_t i = 0;
  for (; i + kLanes <= x.size(); i += kLanes) {
    for (size_t l = 0; l < kLanes; ++l) {
      min[l] = x[i + l] < min[l] ? x[i + l] : min[l];
      max[l] = x[i + l] > max[l] ? x[i + l] : max[l];
    }
  }
  for (; i < x.size(); ++i) {
    min[0] = std::min(min[0], x[i]);
    max[0] = std::max(max[0], x[i]);
  }
  return {*std::min_element(min, min + kLanes), *std::max_element(max, max + kLanes)};
}

// The first of those with the largest magnitude.
float Extreme(std::span<const float> x, const Range& range) {
  if (range.max != -range.min) return range.max > -range.min ? range.max : range.min;
  return *std::ranges::find_if(x, [&](float v) { return std::fabs(v) == range.max; });
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
    case GridRule::kNorm:
    case GridRule::kIq4nl: return CodeKind::kTable;
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
  const Range range = RangeOf(x);
  float min = range.min, max = range.max, step = 0;
  const auto top = static_cast<float>((1 << bits_) - 1);
  switch (rule_) {
    case GridRule::kIntegerZero:
      min = std::min(min, 0.0f) * clip_;
      max = std::max(max, 0.0f) * clip_;
      step = (max - min) / top;
      break;
    case GridRule::kMinMax: {
      const float cut = (max - min) * (1 - clip_) / 2;
      min += cut;
      max -= cut;
      step = (max - min) / top;
      break;
    }
    case GridRule::kSymmetric: step = range.AbsMax() / (Zero() - 1); break;
    case GridRule::kSigned: step = Extreme(x, range) / -Zero(); break;
    case GridRule::kAbsMax: step = range.AbsMax() / 448; break;
    case GridRule::kRange: step = (max - min) / 2; break;
    case GridRule::kNorm: {
      double squares = 0;
      for (float v : x) squares += double{v} * v;
      step = static_cast<float>(std::sqrt(squares / static_cast<double>(x.size())));
      break;
    }
    case GridRule::kPowerOfTwo:
      if (range.AbsMax() > 0) step = std::ldexp(2.0f / Zero(), std::ilogb(range.AbsMax()));
      break;
    case GridRule::kIq4nl: step = Extreme(x, range) / kIq4nlValues[0]; break;
    case GridRule::kUnit: break;
  }
  if (rule_ == GridRule::kIq4nl) {
    grid.scale = ToHalf(Iq4nlScale(x, step));
    grid.s = HalfToFloat(grid.scale);
    if (grid.s != 0) grid.inverse = 1.0f / step;
    return grid;
  }
  grid.scale = ToHalf(step);
  grid.s = HalfToFloat(grid.scale);
  const bool unrounded = rule_ == GridRule::kSymmetric || rule_ == GridRule::kSigned;
  if (grid.s != 0) grid.inverse = 1.0f / (unrounded ? step : grid.s);
  if (rule_ == GridRule::kMinMax) grid.offset = ToHalf(min);
  if (rule_ == GridRule::kRange) grid.offset = ToHalf(min + (max - min) / 2);
  if (rule_ == GridRule::kIntegerZero) {
    grid.offset = static_cast<uint16_t>(Clamp(std::nearbyint(-min * grid.inverse), 255));
  }
  FillOffsets(&grid.offset, &grid.s, 1, &grid.o);
  return grid;
}

void Quantiser::FillOffsets(const uint16_t* stored, const float* s, int n, float* o) const {
  switch (rule_) {
    case GridRule::kMinMax:
    case GridRule::kRange: return ActiveAttendKernels().unpack_f16(stored, o, n);
    case GridRule::kIntegerZero:
      for (int i = 0; i < n; ++i) o[i] = -s[i] * static_cast<float>(stored[i]);
      return;
    case GridRule::kSymmetric:
    case GridRule::kSigned:
    case GridRule::kPowerOfTwo: {
      const float zero = Zero();
      for (int i = 0; i < n; ++i) o[i] = -s[i] * zero;
      return;
    }
    default: std::fill_n(o, n, 0.0f);
  }
}

void Quantiser::Encode(std::span<const float> x, const Grid& grid, const float* table,
                       uint8_t* codes) const {
  const auto top = static_cast<float>((1 << bits_) - 1);
  const float zero = Zero(), inverse = grid.inverse, offset = grid.o;
  const auto each = [&](auto code) {
    for (size_t i = 0; i < x.size(); ++i) codes[i] = static_cast<uint8_t>(code(x[i]));
  };
  // One above the top is far enough out to be clamped after rounding.
  const auto clamped = [&](float steps) { return RoundEven(Clamp(steps, top + 1)); };
  switch (rule_) {
    case GridRule::kMinMax:
      if (grid.s == 0) return each([](float) { return 0; });
      return each(
          [&](float v) { return static_cast<int>(Clamp(clamped((v - offset) / grid.s), top)); });
    case GridRule::kIntegerZero: {
      if (grid.s == 0) return each([](float) { return 0; });
      const auto z = static_cast<float>(grid.offset);
      return each([&](float v) { return static_cast<int>(Clamp(RoundEven(v / grid.s) + z, top)); });
    }
    case GridRule::kSymmetric:
      // Away from zero; adding a half before truncating would round 0.49999997 up.
      return each([&](float v) {
        const float steps = v * inverse, magnitude = std::fabs(steps);
        const auto whole = static_cast<float>(static_cast<int>(magnitude));
        const float rounded = whole + (magnitude - whole >= 0.5f ? 1.0f : 0.0f);
        return static_cast<int>(Clamp(std::copysign(rounded, steps) + zero, top));
      });
    case GridRule::kSigned:
      return each(
          [&](float v) { return static_cast<int>(Clamp(v * inverse + (zero + 0.5f), top)); });
    case GridRule::kPowerOfTwo:
      return each(
          [&](float v) { return static_cast<int>(Clamp(RoundEven(v * inverse) + zero, top)); });
    case GridRule::kAbsMax:
    case GridRule::kUnit: return each([&](float v) { return FloatToE4m3(v * inverse); });
    case GridRule::kRange:
    case GridRule::kNorm:
    case GridRule::kIq4nl:
      return each([&](float v) { return Nearest((v - offset) * inverse, table, 1 << bits_); });
  }
}

float Quantiser::Value(uint8_t code, const Grid& grid, const float* table) const {
  float value = code;
  if (kind() == CodeKind::kE4m3) value = E4m3ToFloat(code);
  if (kind() == CodeKind::kTable) value = table[code];
  return std::fma(value, grid.s, grid.o);
}

}  // namespace kvasir
