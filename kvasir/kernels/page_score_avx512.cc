#include <immintrin.h>

#include <cstring>

#include "kvasir/kernels/page_score.h"

namespace kvasir {
namespace {

__m512i Broadcast4(const uint8_t* p) {
  int32_t quad;
  std::memcpy(&quad, p, sizeof(quad));
  return _mm512_set1_epi32(quad);
}

// R rows share the loads of a tile.
template <int R>
void ScoreTile(const uint8_t* q, int n_quad, const int8_t* tile, int32_t* out, int stride) {
  __m512i plus[R], minus[R];
  for (int r = 0; r < R; ++r) plus[r] = minus[r] = _mm512_setzero_si512();
  for (int quad = 0; quad < n_quad; ++quad) {
    const __m512i max = _mm512_loadu_si512(tile + quad * 128);
    const __m512i min = _mm512_loadu_si512(tile + quad * 128 + 64);
    for (int r = 0; r < R; ++r) {
      const uint8_t* q_quad = q + (r * n_quad + quad) * 8;
      plus[r] = _mm512_dpbusd_epi32(plus[r], Broadcast4(q_quad), max);
      minus[r] = _mm512_dpbusd_epi32(minus[r], Broadcast4(q_quad + 4), min);
    }
  }
  for (int r = 0; r < R; ++r) {
    _mm512_storeu_si512(out + r * stride, _mm512_sub_epi32(plus[r], minus[r]));
  }
}

void Score(const uint8_t* q, int n_row, int n_quad, const int8_t* const* tiles, int n_tile,
           int32_t* out, int stride) {
  for (int i = 0; i < n_tile; ++i) {
    int r = 0;
    for (; r + 4 <= n_row; r += 4) {
      ScoreTile<4>(q + r * n_quad * 8, n_quad, tiles[i], out + r * stride + 16 * i, stride);
    }
    for (; r < n_row; ++r) {
      ScoreTile<1>(q + r * n_quad * 8, n_quad, tiles[i], out + r * stride + 16 * i, stride);
    }
  }
}

}  // namespace

extern const PageScoreKernels kPageScoreAvx512;
const PageScoreKernels kPageScoreAvx512 = {.score = Score};

}  // namespace kvasir
