#include "kvasir/kernels/attend_simd.h"
#include "kvasir/kernels/vector_avx2.h"

namespace kvasir {

extern const AttendKernels kAttendAvx2;

namespace {

// The register blocks that fit 16 half-width registers. Tiles are converted once for
// all rows of a block, so that narrow and tall blocks are best.
struct Blocks : Vector2x256 {
  static constexpr int kLogitRows = 6, kLogitTiles = 1;
  static constexpr int kValueRows = 6, kValueVectors = 1;
};

}  // namespace

const AttendKernels kAttendAvx2 = AttendSimd<Blocks>::Table();

}  // namespace kvasir
