#include "kvasir/kernels/page_score.h"

namespace kvasir {

extern const PageScoreKernels kPageScoreScalar;
#if defined(__x86_64__)
extern const PageScoreKernels kPageScoreAvx2;
extern const PageScoreKernels kPageScoreAvx512;
#endif

const PageScoreKernels& GetPageScoreKernels(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::kAvx512) return kPageScoreAvx512;
  if (isa == Isa::kAvx2) return kPageScoreAvx2;
#endif
  static_cast<void>(isa);
  return kPageScoreScalar;
}

const PageScoreKernels& ActivePageScoreKernels() { return GetPageScoreKernels(ActiveIsa()); }

}  // namespace kvasir
