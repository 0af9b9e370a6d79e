#include <immintrin.h>

#include <cstring>

#include "kvasir/kernels/page_score.h"

namespace kvasir {
namespace {

// Four u8 as 16-bit numbers, repeated. The instruction that multiplies u8 by s8 saturates its
// 16-bit sums; 16-bit factors do not.
__m256i Broadcast4(const uint8_t* p) {
  int32_t quad;
  std::memcpy(&quad, p, sizeof(quad));
  return _mm256_broadcastq_epi64(_mm_cvtepu8_epi16(_mm_cvtsi32_si128(quad)));
}

__m256i Load16(const int8_t* p) {
  return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

void ScoreTile(const uint8_t* q, int n_quad, const int8_t* tile, int32_t* out) {
  __m256i sum[4];  // four pages each, two halves of a quad per page
  for (__m256i& s : sum) s = _mm256_setzero_si256();
  for (int quad = 0; quad < n_quad; ++quad) {
    const __m256i plus = Broadcast4(q + quad * 8), minus = Broadcast4(q + quad * 8 + 4);
    const int8_t* max = tile + quad * 128;
    for (int part = 0; part < 4; ++part) {
      const __m256i high = _mm256_madd_epi16(plus, Load16(max + part * 16));
      const __m256i low = _mm256_madd_epi16(minus, Load16(max + 64 + part * 16));
      sum[part] = _mm256_add_epi32(sum[part], _mm256_sub_epi32(high, low));
    }
  }
  for (int half = 0; half < 2; ++half) {
    // Pages 0 1 4 5 2 3 6 7 after the pairwise sum.
    const __m256i pages = _mm256_hadd_epi32(sum[2 * half], sum[2 * half + 1]);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 8 * half),
                        _mm256_permute4x64_epi64(pages, _MM_SHUFFLE(3, 1, 2, 0)));
  }
}

void Score(const uint8_t* q, int n_row, int n_quad, const int8_t* const* tiles, int n_tile,
           int32_t* out, int stride) {
  for (int i = 0; i < n_tile; ++i) {
    for (int r = 0; r < n_row; ++r) {
      ScoreTile(q + r * n_quad * 8, n_quad, tiles[i], out + r * stride + 16 * i);
    }
  }
}

}  // namespace

extern const PageScoreKernels kPageScoreAvx2;
const PageScoreKernels kPageScoreAvx2 = {.score = Score};

}  // namespace kvasir
