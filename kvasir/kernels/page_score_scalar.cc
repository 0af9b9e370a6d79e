#include "kvasir/kernels/page_score.h"

namespace kvasir {
namespace {

void Score(const uint8_t* q, int n_row, int n_quad, const int8_t* const* tiles, int n_tile,
           int32_t* out, int stride) {
  for (int r = 0; r < n_row; ++r) {
    for (int i = 0; i < n_tile; ++i) {
      for (int p = 0; p < 16; ++p) {
        int32_t sum = 0;
        for (int quad = 0; quad < n_quad; ++quad) {
          const uint8_t* q_quad = q + (r * n_quad + quad) * 8;
          const int8_t* max = tiles[i] + quad * 128 + p * 4;
          const int8_t* min = max + 64;
          for (int c = 0; c < 4; ++c) sum += q_quad[c] * max[c] - q_quad[4 + c] * min[c];
        }
        out[r * stride + 16 * i + p] = sum;
      }
    }
  }
}

}  // namespace

extern const PageScoreKernels kPageScoreScalar;
const PageScoreKernels kPageScoreScalar = {.score = Score};

}  // namespace kvasir
