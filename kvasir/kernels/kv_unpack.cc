#include "kvasir/kernels/kv_unpack.h"

#include <cstring>

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

void PackStrip(const uint8_t* codes, int bits, uint8_t* strip) {
  if (bits == 8) {
    std::memcpy(strip, codes, kStripCodes);
    return;
  }
  int low = 0;
  for (int width : {4, 2, 1}) {
    if ((bits & width) == 0) continue;
    uint64_t plane = 0;
    for (int i = 0; i < kStripCodes; ++i) {
      plane |= uint64_t(codes[i] >> low & ((1 << width) - 1)) << (i * width);
    }
    for (int byte = 0; byte < StripBytes(width); ++byte) {
      *strip++ = static_cast<uint8_t>(plane >> (8 * byte));
    }
    low += width;
  }
}

}  // namespace kvasir
