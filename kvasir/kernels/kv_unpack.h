// Codes of encoded keys and values to f32, a strip of 16 at a time. Every variant gives the same
// bits.
#pragma once

#include <cstdint>

#include "kvasir/core/isa.h"

namespace kvasir {

inline constexpr int kStripCodes = 16;

// Bytes of one strip of `bits`-bit codes, 1 to 8. Eight bits are bytes; fewer are split into planes
// of 4, 2 and 1 bits, as the number's binary digits say, the plane of the low bits first:
//
//   bits  plane of 4 (8 bytes)   plane of 2 (4 bytes)   plane of 1 (2 bytes)
//   4     code bits 0-3
//   3                            bits 0-1               bit 2
//   6     bits 0-3               bits 4-5
//
// Within a plane neighbours lie next to each other, the first in the lowest bits.
constexpr int StripBytes(int bits) { return 2 * bits; }

// What a code means before scale and offset.
enum class CodeKind : uint8_t {
  kInteger,  // itself
  kTable,    // table[code], at most 4 bits
  kE4m3,     // OCP 8-bit float: 4 exponent bits, bias 7, 3 mantissa bits; no infinities
};

struct KvStrips {
  CodeKind kind = CodeKind::kInteger;
  int bits = 8;
  const float* table = nullptr;    // (16), kTable only
  const uint8_t* codes = nullptr;  // (n_row, StripBytes(bits))
  int n_row = 0;
  float* dst = nullptr;  // rows of 16, `stride` floats apart
  int stride = kStripCodes;
};

struct KvUnpackKernels {
  // dst[r * stride + i] = value(r, i) * scale[r] + offset[r], rounded once
  void (*by_row)(const KvStrips& strips, const float* scale, const float* offset);
  // dst[r * stride + i] = value(r, i) * scale[i] + offset[i], rounded once
  void (*by_lane)(const KvStrips& strips, const float* scale, const float* offset);
};

const KvUnpackKernels& GetKvUnpackKernels(Isa isa);
const KvUnpackKernels& ActiveKvUnpackKernels();

// One code of a strip.
uint8_t GetStripCode(const uint8_t* strip, int bits, int i);
// Packs 16 codes.
void PackStrip(const uint8_t* codes, int bits, uint8_t* strip);

}  // namespace kvasir
