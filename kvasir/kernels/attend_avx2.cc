#include "kvasir/kernels/attend_simd.h"
#include "kvasir/kernels/vector_avx2.h"

namespace kvasir {

extern const AttendKernels kAttendAvx2;

namespace {

// The register blocks that fit 16 half-width registers.
struct Blocks : Vector2x256 {
  static constexpr int kLogitRows = 3, kLogitTiles = 2;
  static constexpr int kValueRows = 3, kValueVectors = 2;
};

}  // namespace

const AttendKernels kAttendAvx2 = AttendSimd<Blocks>::Table();

}  // namespace kvasir
