#include <immintrin.h>

#include "kvasir/measure/read_loop.h"

namespace kvasir {

uint64_t ReadWordsAvx512(const uint64_t* words, int64_t n) {
  __m512i sum[8] = {};
  for (int64_t i = 0; i < n; i += 64) {
    for (int j = 0; j < 8; ++j) {
      sum[j] = _mm512_xor_si512(sum[j], _mm512_load_si512(words + i + 8 * j));
    }
  }
  for (int j = 1; j < 8; ++j) sum[0] = _mm512_xor_si512(sum[0], sum[j]);
  alignas(64) uint64_t lanes[8];
  _mm512_store_si512(lanes, sum[0]);
  uint64_t total = 0;
  for (const uint64_t lane : lanes) total ^= lane;
  return total;
}

}  // namespace kvasir
