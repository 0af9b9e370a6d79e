#include "kvasir/kernels/tile_dot_simd.h"
#include "kvasir/kernels/vector_avx512.h"

namespace kvasir {

extern const TileDotKernels kTileDotAvx512;

namespace {

// The register block that fits 32 registers.
struct Blocks : Vector512 {
  static constexpr int kRows = 6, kTiles = 4;

  // Both halves at once: they are neighbours of 128-bit lanes.
  static void StoreHalfSums(float* out, Reg v) {
    v = _mm512_add_ps(v, _mm512_shuffle_f32x4(v, v, _MM_SHUFFLE(2, 3, 0, 1)));
    v = _mm512_add_ps(v, _mm512_permute_ps(v, _MM_SHUFFLE(1, 0, 3, 2)));
    v = _mm512_add_ps(v, _mm512_permute_ps(v, _MM_SHUFFLE(2, 3, 0, 1)));
    out[0] = _mm512_cvtss_f32(v);
    out[1] = _mm_cvtss_f32(_mm512_extractf32x4_ps(v, 2));
  }
};

}  // namespace

const TileDotKernels kTileDotAvx512 = TileDotSimd<Blocks>::Table();

}  // namespace kvasir
