#include "kvasir/kernels/hadamard.h"

namespace kvasir {

extern const HadamardKernels kHadamardScalar;
#if defined(__x86_64__)
extern const HadamardKernels kHadamardAvx2;
extern const HadamardKernels kHadamardAvx512;
#endif

const HadamardKernels& GetHadamardKernels(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::kAvx512) return kHadamardAvx512;
  if (isa == Isa::kAvx2) return kHadamardAvx2;
#endif
  static_cast<void>(isa);
  return kHadamardScalar;
}

const HadamardKernels& ActiveHadamardKernels() { return GetHadamardKernels(ActiveIsa()); }

}  // namespace kvasir
