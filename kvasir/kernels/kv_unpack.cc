#include "kvasir/kernels/kv_unpack.h"

namespace kvasir {

extern const KvUnpackKernels kKvUnpackScalar;
#if defined(__x86_64__)
extern const KvUnpackKernels kKvUnpackAvx2;
extern const KvUnpackKernels kKvUnpackAvx512;
#endif

const KvUnpackKernels& GetKvUnpackKernels(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::kAvx512) return kKvUnpackAvx512;
  if (isa == Isa::kAvx2) return kKvUnpackAvx2;
#endif
  static_cast<void>(isa);
  return kKvUnpackScalar;
}

const KvUnpackKernels& ActiveKvUnpackKernels() { return GetKvUnpackKernels(ActiveIsa()); }

uint8_t GetStripCode(const uint8_t* strip, int bits, int i) {
  if (bits == 8) return strip[i];
  int code = 0, low = 0;
  for (int width : {4, 2, 1}) {
    if ((bits & width) == 0) continue;
    const int at = i * width;
    code |= (strip[at / 8] >> (at % 8) & ((1 << width) - 1)) << low;
    low += width;
    strip += StripBytes(width);
  }
  return static_cast<uint8_t>(code);
}

void SetStripCode(uint8_t* strip, int bits, int i, uint8_t code) {
  if (bits == 8) {
    strip[i] = code;
    return;
  }
  for (int width : {4, 2, 1}) {
    if ((bits & width) == 0) continue;
    const int at = i * width;
    strip[at / 8] |= static_cast<uint8_t>((code & ((1 << width) - 1)) << (at % 8));
    code = static_cast<uint8_t>(code >> width);
    strip += StripBytes(width);
  }
}

}  // namespace kvasir
