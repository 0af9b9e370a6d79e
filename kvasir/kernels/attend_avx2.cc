#include "kvasir/kernels/attend_simd.h"
#include "kvasir/kernels/vector_avx2.h"

namespace kvasir {

extern const AttendKernels kAttendAvx2;

namespace {

// The register blocks that fit 16 half-width registers; conversions cost as much as products.
struct Blocks : Vector2x256 {
  static constexpr int kLogitRows = 6, kLogitTiles = 1;
  static constexpr int kValueRows = 6, kValueVectors = 1;
  static constexpr int kUnpackRows = 9;
};

}  // namespace

const AttendKernels kAttendAvx2 = AttendSimd<Blocks>::Table();

}  // namespace kvasir
