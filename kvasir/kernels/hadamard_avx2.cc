#include "kvasir/kernels/hadamard_simd.h"
#include "kvasir/kernels/vector_avx2.h"

namespace kvasir {

extern const HadamardKernels kHadamardAvx2;
const HadamardKernels kHadamardAvx2 = HadamardSimd<Vector2x256>::Table();

}  // namespace kvasir
