#include "kvasir/kernels/kv_unpack_simd.h"
#include "kvasir/kernels/vector_avx2.h"

namespace kvasir {

extern const KvUnpackKernels kKvUnpackAvx2;

namespace {

struct Codes2x256 {
  using Reg = Vector2x256::Reg;
  struct Lanes {
    __m256i lo, hi;
  };
  struct Table {
    __m256 low, high;  // entries 0-7 and 8-15
  };

  static __m256i Field(int32_t word, int first_bit, int width) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i shift = _mm256_add_epi32(_mm256_mullo_epi32(lane, _mm256_set1_epi32(width)),
                                           _mm256_set1_epi32(first_bit));
    return _mm256_and_si256(_mm256_srlv_epi32(_mm256_set1_epi32(word), shift),
                            _mm256_set1_epi32((1 << width) - 1));
  }

  template <int kWidth>
  static Lanes Plane(const uint8_t* p) {
    if constexpr (kWidth == 4) {
      return {Field(LoadWord<int32_t>(p), 0, 4), Field(LoadWord<int32_t>(p + 4), 0, 4)};
    } else if constexpr (kWidth == 2) {
      return {Field(LoadWord<int32_t>(p), 0, 2), Field(LoadWord<int32_t>(p), 16, 2)};
    } else {
      return {Field(LoadWord<uint16_t>(p), 0, 1), Field(LoadWord<uint16_t>(p), 8, 1)};
    }
  }

  static Lanes OrShifted(Lanes code, Lanes plane, int left) {
    return {_mm256_or_si256(code.lo, _mm256_slli_epi32(plane.lo, left)),
            _mm256_or_si256(code.hi, _mm256_slli_epi32(plane.hi, left))};
  }

  template <int kBits>
  static Lanes Read(const uint8_t* p) {
    if constexpr (kBits == 8) {
      return {_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))),
              _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p + 8)))};
    } else {
      Lanes code = {_mm256_setzero_si256(), _mm256_setzero_si256()};
      if constexpr ((kBits & 4) != 0) code = Plane<4>(p);
      if constexpr ((kBits & 2) != 0) {
        code = OrShifted(code, Plane<2>(p + StripBytes(kBits & 4)), kBits & 4);
      }
      if constexpr ((kBits & 1) != 0) {
        code = OrShifted(code, Plane<1>(p + StripBytes(kBits & 6)), kBits & 6);
      }
      return code;
    }
  }

  static Reg ToFloat(Lanes code) {
    return {_mm256_cvtepi32_ps(code.lo), _mm256_cvtepi32_ps(code.hi)};
  }
  static Table LoadTable(const float* table) {
    return {_mm256_loadu_ps(table), _mm256_loadu_ps(table + 8)};
  }
  static __m256 Lookup(Table table, __m256i code) {
    // The permutation reads three bits; bit 3, moved to the sign, picks the half.
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(table.low, code),
                            _mm256_permutevar8x32_ps(table.high, code),
                            _mm256_castsi256_ps(_mm256_slli_epi32(code, 28)));
  }
  static Reg Lookup(Table table, Lanes code) {
    return {Lookup(table, code.lo), Lookup(table, code.hi)};
  }
  static __m256 FromHalf(__m128i half) {
    return _mm256_mul_ps(_mm256_cvtph_ps(half), _mm256_set1_ps(256));
  }
  static Reg E4m3(const uint8_t* p) {
    // As f16 bits the value is 2^8 too small, and subnormals stay right.
    const __m256i code = _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    const __m256i sign = _mm256_slli_epi16(_mm256_and_si256(code, _mm256_set1_epi16(0x80)), 8);
    const __m256i rest = _mm256_slli_epi16(_mm256_and_si256(code, _mm256_set1_epi16(0x7f)), 7);
    const __m256i half = _mm256_or_si256(sign, rest);
    return {FromHalf(_mm256_castsi256_si128(half)), FromHalf(_mm256_extracti128_si256(half, 1))};
  }
};

}  // namespace

const KvUnpackKernels kKvUnpackAvx2 = KvUnpackSimd<Vector2x256, Codes2x256>::Table();

}  // namespace kvasir
