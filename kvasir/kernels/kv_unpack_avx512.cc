#include "kvasir/kernels/kv_unpack_simd.h"
#include "kvasir/kernels/vector_avx512.h"

namespace kvasir {

extern const KvUnpackKernels kKvUnpackAvx512;

namespace {

struct Codes512 {
  using Lanes = __m512i;
  using Table = __m512;

  // Codes of one plane; lane i takes its bits from word i / codes per word.
  template <int kWidth>
  static Lanes Plane(const uint8_t* p) {
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i shift = _mm512_mullo_epi32(lane, _mm512_set1_epi32(kWidth));
    __m512i words;
    if constexpr (kWidth == 4) {
      words = _mm512_set1_epi32(LoadWord<int32_t>(p));
      words = _mm512_mask_set1_epi32(words, 0xff00, LoadWord<int32_t>(p + 4));
    } else if constexpr (kWidth == 2) {
      words = _mm512_set1_epi32(LoadWord<int32_t>(p));
    } else {
      words = _mm512_set1_epi32(LoadWord<uint16_t>(p));
    }
    const __m512i in_word = _mm512_and_si512(shift, _mm512_set1_epi32(31));
    return _mm512_and_si512(_mm512_srlv_epi32(words, in_word),
                            _mm512_set1_epi32((1 << kWidth) - 1));
  }

  template <int kBits>
  static Lanes Read(const uint8_t* p) {
    if constexpr (kBits == 8) {
      return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    } else {
      __m512i code = _mm512_setzero_si512();
      if constexpr ((kBits & 4) != 0) code = Plane<4>(p);
      if constexpr ((kBits & 2) != 0) {
        code = _mm512_or_si512(code,
                               _mm512_slli_epi32(Plane<2>(p + StripBytes(kBits & 4)), kBits & 4));
      }
      if constexpr ((kBits & 1) != 0) {
        code = _mm512_or_si512(code,
                               _mm512_slli_epi32(Plane<1>(p + StripBytes(kBits & 6)), kBits & 6));
      }
      return code;
    }
  }

  static __m512 ToFloat(Lanes code) { return _mm512_cvtepi32_ps(code); }
  static Table LoadTable(const float* table) { return _mm512_loadu_ps(table); }
  static __m512 Lookup(Table table, Lanes code) { return _mm512_permutexvar_ps(code, table); }
  static __m512 E4m3(const uint8_t* p) {
    // As f16 bits the value is 2^8 too small, and subnormals stay right.
    const __m256i code = _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    const __m256i sign = _mm256_slli_epi16(_mm256_and_si256(code, _mm256_set1_epi16(0x80)), 8);
    const __m256i rest = _mm256_slli_epi16(_mm256_and_si256(code, _mm256_set1_epi16(0x7f)), 7);
    return _mm512_mul_ps(_mm512_cvtph_ps(_mm256_or_si256(sign, rest)), _mm512_set1_ps(256));
  }
};

}  // namespace

const KvUnpackKernels kKvUnpackAvx512 = KvUnpackSimd<Vector512, Codes512>::Table();

}  // namespace kvasir
