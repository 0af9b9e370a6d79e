// Sixteen bytes of 16 rows at a time. It is memory that this waits for: registers of 64 bytes gave
// no more.
#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "kvasir/core/prefetch.h"
#include "kvasir/kernels/weight_stripes.h"
#include "kvasir/kernels/weight_stripes_kernels.h"

namespace kvasir {
namespace {

constexpr size_t kRows = kStripeRows;

template <bool kStream>
void Store(std::byte* to, __m256i x) {
  auto* p = reinterpret_cast<__m256i*>(to);
  if constexpr (kStream) {
    _mm256_stream_si256(p, x);
  } else {
    _mm256_storeu_si256(p, x);
  }
}

// 16 bytes of the first and the fifth row.
__m256i Load(const std::byte* from, size_t row_bytes) {
  const auto row = [&](size_t r) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + r * row_bytes));
  };
  return _mm256_set_m128i(row(4), row(0));
}

// The dwords from kFirst on of 16 bytes of eight rows.
template <bool kStream, size_t kFirst>
void EightRows(const std::byte* from, size_t row_bytes, std::byte* to) {
  const __m256i r0 = Load(from, row_bytes), r1 = Load(from + row_bytes, row_bytes);
  const __m256i r2 = Load(from + 2 * row_bytes, row_bytes);
  const __m256i r3 = Load(from + 3 * row_bytes, row_bytes);
  const __m256i lo01 = _mm256_unpacklo_epi32(r0, r1), hi01 = _mm256_unpackhi_epi32(r0, r1);
  const __m256i lo23 = _mm256_unpacklo_epi32(r2, r3), hi23 = _mm256_unpackhi_epi32(r2, r3);
  if (kFirst <= 0) Store<kStream>(to, _mm256_unpacklo_epi64(lo01, lo23));
  if (kFirst <= 1) Store<kStream>(to + 64, _mm256_unpackhi_epi64(lo01, lo23));
  if (kFirst <= 2) Store<kStream>(to + 128, _mm256_unpacklo_epi64(hi01, hi23));
  Store<kStream>(to + 192, _mm256_unpackhi_epi64(hi01, hi23));
}
template <bool kStream, size_t kFirst>
void Dwords(const std::byte* from, size_t row_bytes, std::byte* to) {
  EightRows<kStream, kFirst>(from, row_bytes, to);
  EightRows<kStream, kFirst>(from + 8 * row_bytes, row_bytes, to + 32);
}

// One f16 of 16 rows.
template <bool kStream>
void Halves(const std::byte* from, size_t row_bytes, std::byte* to) {
  const auto row = [&](size_t r) {
    int16_t half;
    std::memcpy(&half, from + r * row_bytes, sizeof(half));
    return half;
  };
  Store<kStream>(
      to, _mm256_setr_epi16(row(0), row(1), row(2), row(3), row(4), row(5), row(6), row(7), row(8),
                            row(9), row(10), row(11), row(12), row(13), row(14), row(15)));
}

// A block of kLead bytes (an f16, or none), dwords, and kTrail bytes (likewise).
template <size_t kLead, size_t kDwordBytes, size_t kTrail>
struct Block {
  static constexpr size_t kBytes = kLead + kDwordBytes + kTrail;
  static constexpr size_t kEnd = kLead + kDwordBytes;  // of the dwords
  static_assert(kDwordBytes >= 16);

  template <bool kStream>
  static void Write(const std::byte* from, size_t row_bytes, std::byte* to) {
    if constexpr (kLead != 0) Halves<kStream>(from, row_bytes, to);
    for (size_t at = kLead; at + 16 <= kEnd; at += 16) {
      Dwords<kStream, 0>(from + at, row_bytes, to + kRows * at);
    }
    // Dwords that are left end 16 bytes of which the first dwords have been written.
    if constexpr (constexpr size_t kLeft = kDwordBytes % 16 / 4; kLeft != 0) {
      Dwords<kStream, 4 - kLeft>(from + kEnd - 16, row_bytes, to + kRows * (kEnd - 16));
    }
    if constexpr (kTrail != 0) {
      Halves<kStream>(from + kEnd, row_bytes, to + kRows * kEnd);
    }
  }

  // The next run comes nearer front to back, as memory likes it, while this one's rows are read
  // all at once.
  template <bool kStream>
  static void Runs(const StripeCall& call) {
    const size_t run_bytes = kRows * call.row_bytes;
    for (size_t run = 0; run < call.n_run; ++run) {
      for (size_t at = 0; at < call.row_bytes; at += kBytes) {
        if (run + 1 < call.n_run) {
          const std::byte* ahead = call.from + (run + 1) * run_bytes + kRows * at;
          for (size_t line = 0; line < kRows * kBytes; line += 64) {
            PrefetchLine(ahead + line);
          }
        }
        Write<kStream>(call.from + run * run_bytes + at, call.row_bytes,
                       call.to + run * run_bytes + kRows * at);
      }
    }
  }
};

// Stripes are written front to back and not read again soon: past the caches, which would read
// every line before it is written. Fields start at multiples of 32 bytes from the first.
template <class B>
void Runs(const StripeCall& call) {
  if (reinterpret_cast<uintptr_t>(call.to) % 32 == 0) {
    B::template Runs<true>(call);
    _mm_sfence();
  } else {
    B::template Runs<false>(call);
  }
}

}  // namespace

void StripeAvx2(const StripeCall& call) {
  switch (call.type) {
    case TensorType::kQ4_0: return Runs<Block<2, 16, 0>>(call);
    case TensorType::kQ4_1: return Runs<Block<0, 20, 0>>(call);
    case TensorType::kQ5_0: return Runs<Block<2, 20, 0>>(call);
    case TensorType::kQ5_1: return Runs<Block<0, 24, 0>>(call);
    case TensorType::kQ8_0: return Runs<Block<2, 32, 0>>(call);
    case TensorType::kQ4_K: return Runs<Block<0, 144, 0>>(call);
    case TensorType::kQ5_K: return Runs<Block<0, 176, 0>>(call);
    case TensorType::kQ6_K: return Runs<Block<0, 208, 2>>(call);
    case TensorType::kF32:
    case TensorType::kF16:
    case TensorType::kBF16: return;  // have no stripes
  }
}

}  // namespace kvasir
