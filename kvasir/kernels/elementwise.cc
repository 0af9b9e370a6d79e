#include "kvasir/kernels/elementwise.h"

namespace kvasir {

extern const ElementwiseKernels kElementwiseScalar;
#if defined(__x86_64__)
extern const ElementwiseKernels kElementwiseAvx2;
extern const ElementwiseKernels kElementwiseAvx512;
#endif

const ElementwiseKernels& GetElementwiseKernels(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::kAvx512) return kElementwiseAvx512;
  if (isa == Isa::kAvx2) return kElementwiseAvx2;
#endif
  static_cast<void>(isa);
  return kElementwiseScalar;
}

const ElementwiseKernels& ActiveElementwiseKernels() { return GetElementwiseKernels(ActiveIsa()); }

}  // namespace kvasir
