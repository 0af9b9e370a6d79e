#include <immintrin.h>

#include "kvasir/measure/read_loop.h"

namespace kvasir {

uint64_t ReadWordsAvx2(const uint64_t* words, int64_t n) {
  __m256i sum[8] = {};
  for (int64_t i = 0; i < n; i += 32) {
    for (int j = 0; j < 8; ++j) {
      const auto* from = reinterpret_cast<const __m256i*>(words + i + 4 * j);
      sum[j] = _mm256_xor_si256(sum[j], _mm256_load_si256(from));
    }
  }
  for (int j = 1; j < 8; ++j) sum[0] = _mm256_xor_si256(sum[0], sum[j]);
  alignas(32) uint64_t lanes[4];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), sum[0]);
  return lanes[0] ^ lanes[1] ^ lanes[2] ^ lanes[3];
}

}  // namespace kvasir
