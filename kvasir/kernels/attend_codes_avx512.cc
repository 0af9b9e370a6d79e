#include <array>
#include <cstring>

#include "kvasir/kernels/attend_codes_simd.h"
#include "kvasir/kernels/vector_avx512.h"

namespace kvasir {

extern const AttendCodeKernels kAttendCodesAvx512;

namespace {

struct Codes {
  // The register blocks that fit 32 registers.
  static constexpr int kLogitRows = 4, kLogitTiles = 4;
  static constexpr int kValueRows = 6, kValueVectors = 4;

  using Ints = __m512i;
  using Pair = __m512i;

  static Ints SetInt(int32_t x) { return _mm512_set1_epi32(x); }
  static __m512 ToFloat(Ints x) { return _mm512_cvtepi32_ps(x); }
  static __m512i BroadcastPair(const int16_t* n) {
    int32_t pair;
    std::memcpy(&pair, n, sizeof(pair));
    return _mm512_set1_epi32(pair);
  }
  static Ints AddProducts(Ints sum, Pair codes, __m512i n) {
    return _mm512_dpwssd_epi32(sum, codes, n);
  }

  // Word 2t + i of a pair is token t of its channel i. The bytes of four strips that hold the codes
  // of pair 0 or 1.
  template <int kBits>
  static constexpr std::array<uint8_t, 64> PairBytes(int pair) {
    std::array<uint8_t, 64> index{};
    for (int t = 0; t < 16; ++t) {
      for (int i = 0; i < 2; ++i) {
        const int strip = (2 * pair + i) * StripBytes(kBits);
        index[4 * t + 2 * i] = static_cast<uint8_t>(strip + t * kBits / 8);
      }
    }
    return index;
  }

  // Pair `half` of four strips.
  template <int kBits>
  static Pair LoadPair(const uint8_t* strips, int half) {
    constexpr __mmask64 kLowBytes = 0x5555555555555555;
    alignas(64) static constexpr std::array<uint8_t, 64> kBytes[2] = {PairBytes<kBits>(0),
                                                                      PairBytes<kBits>(1)};
    const __m512i index = _mm512_load_si512(kBytes[half].data());
    if constexpr (kBits == 8) {
      return _mm512_maskz_permutexvar_epi8(kLowBytes, index, _mm512_loadu_si512(strips));
    } else {
      const __m256i codes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(strips));
      return Nibbles(_mm512_permutexvar_epi8(index, _mm512_castsi256_si512(codes)));
    }
  }
  // The low nibble of even tokens, the high one of odd tokens.
  static __m512i Nibbles(__m512i bytes) {
    const __m512i shift = _mm512_set1_epi64(int64_t{4} << 32);
    return _mm512_and_si512(_mm512_srlv_epi32(bytes, shift), _mm512_set1_epi32(0x000f000f));
  }

  // Strips to floats, less the zero.
  struct Bytes {
    __m512i zero;
    __m512 operator()(const uint8_t* strip) const {
      const __m512i code =
          _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(strip)));
      return _mm512_cvtepi32_ps(_mm512_sub_epi32(code, zero));
    }
  };
  struct NibbleTable {
    __m512 values;
    __m512i start;  // bit that lane i's code starts at; what lies above it is not looked at
    __m512 operator()(const uint8_t* strip) const {
      int64_t nibbles;
      std::memcpy(&nibbles, strip, sizeof(nibbles));
      const __m512i code = _mm512_multishift_epi64_epi8(start, _mm512_set1_epi64(nibbles));
      return _mm512_permutexvar_ps(code, values);
    }
  };
  template <int kBits>
  static auto MakeDecoder(int zero) {
    if constexpr (kBits == 8) {
      return Bytes{_mm512_set1_epi32(zero)};
    } else {
      const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
      return NibbleTable{_mm512_cvtepi32_ps(_mm512_sub_epi32(lane, _mm512_set1_epi32(zero))),
                         _mm512_slli_epi32(lane, 2)};
    }
  }
};

}  // namespace

const AttendCodeKernels kAttendCodesAvx512 = AttendCodesSimd<Vector512, Codes>::Table();

}  // namespace kvasir
