#include <cstring>

#include "kvasir/kernels/attend_codes_simd.h"
#include "kvasir/kernels/vector_avx2.h"

namespace kvasir {

extern const AttendCodeKernels kAttendCodesAvx2;

namespace {

struct Codes {
  // The register blocks that fit 16 half-width registers.
  static constexpr int kLogitRows = 4, kLogitTiles = 1;
  static constexpr int kValueRows = 4, kValueVectors = 1;

  struct Ints {
    __m256i lo, hi;
  };
  using Pair = Ints;  // word 2t + i is token t of channel i

  static Ints SetInt(int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
  static Vector2x256::Reg ToFloat(Ints x) {
    return {_mm256_cvtepi32_ps(x.lo), _mm256_cvtepi32_ps(x.hi)};
  }
  static __m256i BroadcastPair(const int16_t* n) {
    int32_t pair;
    std::memcpy(&pair, n, sizeof(pair));
    return _mm256_set1_epi32(pair);
  }
  static Ints AddProducts(Ints sum, Pair codes, __m256i n) {
    return {_mm256_add_epi32(sum.lo, _mm256_madd_epi16(codes.lo, n)),
            _mm256_add_epi32(sum.hi, _mm256_madd_epi16(codes.hi, n))};
  }

  // A strip as bytes.
  template <int kBits>
  static __m128i LoadBytes(const uint8_t* strip) {
    if constexpr (kBits == 8) {
      return _mm_loadu_si128(reinterpret_cast<const __m128i*>(strip));
    } else {
      const __m128i packed = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(strip));
      const __m128i low = _mm_set1_epi8(0x0f);
      return _mm_unpacklo_epi8(_mm_and_si128(packed, low),
                               _mm_and_si128(_mm_srli_epi16(packed, 4), low));
    }
  }
  // Pair `half` of four strips.
  template <int kBits>
  static Pair LoadPair(const uint8_t* strips, int half) {
    const __m128i even = LoadBytes<kBits>(strips + 2 * half * StripBytes(kBits));
    const __m128i odd = LoadBytes<kBits>(strips + (2 * half + 1) * StripBytes(kBits));
    return {_mm256_cvtepu8_epi16(_mm_unpacklo_epi8(even, odd)),
            _mm256_cvtepu8_epi16(_mm_unpackhi_epi8(even, odd))};
  }

  // Strips to floats, less the zero.
  template <int kBits>
  struct Decoder {
    __m256i zero;
    __m256 Half(__m128i bytes) const {
      return _mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_cvtepu8_epi32(bytes), zero));
    }
    Vector2x256::Reg operator()(const uint8_t* strip) const {
      const __m128i bytes = LoadBytes<kBits>(strip);
      return {Half(bytes), Half(_mm_unpackhi_epi64(bytes, bytes))};
    }
  };
  template <int kBits>
  static auto MakeDecoder(int zero) {
    return Decoder<kBits>{_mm256_set1_epi32(zero)};
  }
};

}  // namespace

const AttendCodeKernels kAttendCodesAvx2 = AttendCodesSimd<Vector2x256, Codes>::Table();

}  // namespace kvasir
