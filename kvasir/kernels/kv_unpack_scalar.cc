// The definition: plain loops that read like the layout in kv_unpack.h.
#include <cmath>

#include "kvasir/kernels/kv_unpack.h"

namespace kvasir {

extern const KvUnpackKernels kKvUnpackScalar;

namespace {

float E4m3(uint8_t code) {
  const int exponent = code >> 3 & 15;
  const float mantissa = static_cast<float>(code & 7) / 8;
  const float magnitude =
      exponent == 0 ? std::ldexp(mantissa, -6) : std::ldexp(1 + mantissa, exponent - 7);
  return code & 0x80 ? -magnitude : magnitude;
}

float Value(const KvStrips& strips, int r, int i) {
  const uint8_t code = GetStripCode(strips.codes + r * StripBytes(strips.bits), strips.bits, i);
  switch (strips.kind) {
    case CodeKind::kInteger: break;
    case CodeKind::kTable: return strips.table[code];
    case CodeKind::kE4m3: return E4m3(code);
  }
  return code;
}

void ByRow(const KvStrips& strips, const float* scale, const float* offset) {
  for (int r = 0; r < strips.n_row; ++r) {
    for (int i = 0; i < kStripCodes; ++i) {
      strips.dst[r * strips.stride + i] = std::fma(Value(strips, r, i), scale[r], offset[r]);
    }
  }
}

void ByLane(const KvStrips& strips, const float* scale, const float* offset) {
  for (int r = 0; r < strips.n_row; ++r) {
    for (int i = 0; i < kStripCodes; ++i) {
      strips.dst[r * strips.stride + i] = std::fma(Value(strips, r, i), scale[i], offset[i]);
    }
  }
}

}  // namespace

const KvUnpackKernels kKvUnpackScalar = {.by_row = ByRow, .by_lane = ByLane};

}  // namespace kvasir
