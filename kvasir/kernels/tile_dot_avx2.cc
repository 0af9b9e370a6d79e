#include "kvasir/kernels/tile_dot_simd.h"
#include "kvasir/kernels/vector_avx2.h"

namespace kvasir {

extern const TileDotKernels kTileDotAvx2;

namespace {

// The register block that fits 16 registers of half a vector.
struct Blocks : Vector2x256 {
  static constexpr int kRows = 2, kTiles = 2;

  static float Sum(__m256 half) {
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
  }
  static void StoreHalfSums(float* out, Reg v) {
    out[0] = Sum(v.lo);
    out[1] = Sum(v.hi);
  }
};

}  // namespace

const TileDotKernels kTileDotAvx2 = TileDotSimd<Blocks>::Table();

}  // namespace kvasir
