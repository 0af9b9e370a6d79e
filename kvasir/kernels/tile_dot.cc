#include "kvasir/kernels/tile_dot.h"

namespace kvasir {

extern const TileDotKernels kTileDotScalar;
#if defined(__x86_64__)
extern const TileDotKernels kTileDotAvx2;
extern const TileDotKernels kTileDotAvx512;
#endif

const TileDotKernels& GetTileDotKernels(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::kAvx512) return kTileDotAvx512;
  if (isa == Isa::kAvx2) return kTileDotAvx2;
#endif
  static_cast<void>(isa);
  return kTileDotScalar;
}

const TileDotKernels& ActiveTileDotKernels() { return GetTileDotKernels(ActiveIsa()); }

}  // namespace kvasir
