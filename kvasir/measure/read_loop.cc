#include "kvasir/measure/read_loop.h"

namespace kvasir {

uint64_t ReadWordsScalar(const uint64_t* words, int64_t n) {
  uint64_t sum[8] = {};
  for (int64_t i = 0; i < n; i += 8) {
    for (int j = 0; j < 8; ++j) sum[j] ^= words[i + j];
  }
  uint64_t total = 0;
  for (const uint64_t s : sum) total ^= s;
  return total;
}

uint64_t ReadWords(Isa isa, const uint64_t* words, int64_t n) {
  switch (isa) {
#if defined(__x86_64__)
    case Isa::kAvx512: return ReadWordsAvx512(words, n);
    case Isa::kAvx2: return ReadWordsAvx2(words, n);
#endif
    default: return ReadWordsScalar(words, n);
  }
}

}  // namespace kvasir
