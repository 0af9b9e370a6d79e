#include "kvasir/kernels/attend_simd.h"
#include "kvasir/kernels/vector_avx512.h"

namespace kvasir {

extern const AttendKernels kAttendAvx512;

namespace {

// The register blocks that fit 32 registers.
struct Blocks : Vector512 {
  static constexpr int kLogitRows = 6, kLogitTiles = 4;
  static constexpr int kValueRows = 6, kValueVectors = 4;
};

}  // namespace

const AttendKernels kAttendAvx512 = AttendSimd<Blocks>::Table();

}  // namespace kvasir
