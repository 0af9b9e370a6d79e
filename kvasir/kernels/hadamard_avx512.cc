#include "kvasir/kernels/hadamard_simd.h"
#include "kvasir/kernels/vector_avx512.h"

namespace kvasir {

extern const HadamardKernels kHadamardAvx512;

namespace {

struct Vector : Vector512 {
  // Lane i takes lane i xor kReach.
  template <int kReach>
  static Reg Exchange(Reg v) {
    if constexpr (kReach == 1) return _mm512_permute_ps(v, 0xb1);
    if constexpr (kReach == 2) return _mm512_permute_ps(v, 0x4e);
    if constexpr (kReach == 4) return _mm512_shuffle_f32x4(v, v, 0xb1);
    return _mm512_shuffle_f32x4(v, v, 0x4e);
  }
};

}  // namespace

const HadamardKernels kHadamardAvx512 = HadamardSimd<Vector>::Table();

}  // namespace kvasir
