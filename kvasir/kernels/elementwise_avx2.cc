#include "kvasir/kernels/elementwise_simd.h"
#include "kvasir/kernels/vector_avx2.h"

namespace kvasir {

extern const ElementwiseKernels kElementwiseAvx2;
const ElementwiseKernels kElementwiseAvx2 = ElementwiseSimd<Vector2x256>::Table();

}  // namespace kvasir
