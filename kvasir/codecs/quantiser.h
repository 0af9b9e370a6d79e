// One group of values to codes that share a scale and an offset, both f16.
#pragma once

#include <cstdint>
#include <span>

#include "kvasir/kernels/kv_unpack.h"

namespace kvasir {

// How scale s and offset o follow from the values of a group. A decoded value is
// value(code) * s + o. Groups of zeros, and scales that f16 rounds to 0, decode to o.
enum class GridRule : uint8_t {
  // s = (max - min) / (2^b - 1), o = min; codes round half to even. Both stored.
  kMinMax,
  // The range with 0 in it: s as above, z = round(-min / s), o = -z * s; codes round half to even.
  // s and z stored; 0 decodes to 0 exactly.
  kIntegerZero,
  // s = absmax / (2^(b-1) - 1), o = -2^(b-1) * s; codes round half away from zero by the unrounded
  // scale. s stored. With 8 bits ggml's q8_0.
  kSymmetric,
  // s = the value of largest magnitude / -2^(b-1), o = -2^(b-1) * s; codes truncate after adding a
  // half, by the unrounded scale. s stored. With 4 bits ggml's q4_0.
  kSigned,
  // s = absmax / 448, o = 0; e4m3 codes, half to even. s stored.
  kAbsMax,
  // s = 1, o = 0; e4m3 codes, half to even, saturating at +-448. Nothing stored.
  kUnit,
  // s = (max - min) / 2, o = (max + min) / 2; the nearest of a table on [-1, 1]. Both stored.
  kRange,
  // s = root mean square, o = 0; the nearest of a table for N(0, 1). s stored.
  kNorm,
  // s = the power of two that fits absmax < 2^(b-1) * s, o = -2^(b-1) * s; codes round half to
  // even, and the largest that round up to 2^(b-1) stay below. s stored. Block floating point.
  kPowerOfTwo,
  // o = 0; the nearest of kIq4nlValues to x / t, t = the value of largest magnitude / the first of
  // them; s = the scale that then has the least squared error, weighted by x^2. s stored. ggml's
  // iq4_nl.
  kIq4nl,
};

// What ggml's iq4_nl codes stand for.
inline constexpr float kIq4nlValues[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                           1,    13,   25,  38,  53,  69,  89,  113};

struct Grid {
  uint16_t scale = 0;   // f16, stored
  uint16_t offset = 0;  // f16, or z as an integer, stored
  float s = 0, o = 0;   // what the stored pair means
  float inverse = 0;    // what encoding multiplies by; 0 when every code is the same
};

class Quantiser {
 public:
  Quantiser() = default;
  //   clip  what the half range of kMinMax and kIntegerZero is multiplied by; values beyond the
  //         ends get the codes of the ends
  Quantiser(GridRule rule, int bits, float clip = 1) : rule_(rule), bits_(bits), clip_(clip) {}

  int bits() const { return bits_; }
  CodeKind kind() const;
  bool stores_scale() const { return rule_ != GridRule::kUnit; }
  bool stores_offset() const;

  // Rules of integer codes that count from the middle of their range, and from a stored minimum.
  bool is_symmetric() const {
    return rule_ == GridRule::kSymmetric || rule_ == GridRule::kSigned ||
           rule_ == GridRule::kPowerOfTwo;
  }
  bool is_min_max() const { return rule_ == GridRule::kMinMax; }
  bool is_signed() const { return rule_ == GridRule::kSigned; }  // scales may be below zero

  // `x` finite, magnitudes up to 65504; empty groups give scale 0.
  Grid Fit(std::span<const float> x) const;
  // codes[i] = the code of x[i].
  //   table  (2^bits) ascending, for table rules
  void Encode(std::span<const float> x, const Grid& grid, const float* table, uint8_t* codes) const;
  uint8_t Code(float x, const Grid& grid, const float* table) const {
    uint8_t code;
    Encode({&x, 1}, grid, table, &code);
    return code;
  }
  // Decoded value of a code.
  float Value(uint8_t code, const Grid& grid, const float* table) const;
  // Offsets that are not stored as f16 follow from the scales: o[i] from s[i] and the stored words.
  void FillOffsets(const uint16_t* stored, const float* s, int n, float* o) const;

 private:
  float Zero() const { return static_cast<float>(1 << (bits_ - 1)); }

  GridRule rule_ = GridRule::kMinMax;
  int bits_ = 4;
  float clip_ = 1;
};

// What encoders make of a value first: not a number becomes 0, magnitudes above the largest f16
// become that.
float FiniteHalfRange(float x);

// Nearest e4m3 code, half to even; magnitudes above 448 saturate, NaN becomes 0.
uint8_t FloatToE4m3(float x);
float E4m3ToFloat(uint8_t code);

}  // namespace kvasir
