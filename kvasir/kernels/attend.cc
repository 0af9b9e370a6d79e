#include "kvasir/kernels/attend.h"

namespace kvasir {

extern const AttendKernels kAttendScalar;
#if defined(__x86_64__)
extern const AttendKernels kAttendAvx2;
extern const AttendKernels kAttendAvx512;
#endif

const AttendKernels& GetAttendKernels(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::kAvx512) return kAttendAvx512;
  if (isa == Isa::kAvx2) return kAttendAvx2;
#endif
  static_cast<void>(isa);
  return kAttendScalar;
}

const AttendKernels& ActiveAttendKernels() { return GetAttendKernels(ActiveIsa()); }

}  // namespace kvasir
