#include "kvasir/kernels/hadamard_simd.h"
#include "kvasir/kernels/vector_avx2.h"

namespace kvasir {

extern const HadamardKernels kHadamardAvx2;

namespace {

struct Vector : Vector2x256 {
  // Lane i takes lane i xor kReach.
  template <int kReach>
  static Reg Exchange(Reg v) {
    if constexpr (kReach == 8) return {v.hi, v.lo};
    return Map(v, [](__m256 x) {
      if constexpr (kReach == 1) return _mm256_permute_ps(x, 0xb1);
      if constexpr (kReach == 2) return _mm256_permute_ps(x, 0x4e);
      return _mm256_permute2f128_ps(x, x, 1);
    });
  }
};

}  // namespace

const HadamardKernels kHadamardAvx2 = HadamardSimd<Vector>::Table();

}  // namespace kvasir
