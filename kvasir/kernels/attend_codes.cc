#include "kvasir/kernels/attend_codes.h"

namespace kvasir {

extern const AttendCodeKernels kAttendCodesScalar;
#if defined(__x86_64__)
extern const AttendCodeKernels kAttendCodesAvx2;
extern const AttendCodeKernels kAttendCodesAvx512;
#endif

const AttendCodeKernels& GetAttendCodeKernels(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::kAvx512) return kAttendCodesAvx512;
  if (isa == Isa::kAvx2) return kAttendCodesAvx2;
#endif
  static_cast<void>(isa);
  return kAttendCodesScalar;
}

const AttendCodeKernels& ActiveAttendCodeKernels() { return GetAttendCodeKernels(ActiveIsa()); }

}  // namespace kvasir
