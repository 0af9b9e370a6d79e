#include "kvasir/kernels/hadamard_simd.h"
#include "kvasir/kernels/vector_avx512.h"

namespace kvasir {

extern const HadamardKernels kHadamardAvx512;
const HadamardKernels kHadamardAvx512 = HadamardSimd<Vector512>::Table();

}  // namespace kvasir
