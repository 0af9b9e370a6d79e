#include "kvasir/kernels/elementwise_simd.h"
#include "kvasir/kernels/vector_avx512.h"

namespace kvasir {

extern const ElementwiseKernels kElementwiseAvx512;
const ElementwiseKernels kElementwiseAvx512 = ElementwiseSimd<Vector512>::Table();

}  // namespace kvasir
