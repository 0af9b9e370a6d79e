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
  static constexpr int kValueRows = 4, kValueVectors = 2;

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

  // Byte 4i + s is code i of strip s, of four strips.
  template <int kBits>
  static constexpr std::array<uint8_t, 64> QuadBytes() {
    std::array<uint8_t, 64> index{};
    for (int i = 0; i < 16; ++i) {
      for (int s = 0; s < 4; ++s) {
        index[4 * i + s] = static_cast<uint8_t>(s * StripBytes(kBits) + i * kBits / 8);
      }
    }
    return index;
  }
  template <int kBits>
  static __m512i LoadQuad(const uint8_t* strips) {
    alignas(64) static constexpr std::array<uint8_t, 64> kBytes = QuadBytes<kBits>();
    const __m512i index = _mm512_load_si512(kBytes.data());
    if constexpr (kBits == 8) {
      return _mm512_permutexvar_epi8(index, _mm512_loadu_si512(strips));
    } else {
      const __m256i codes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(strips));
      const __m512i bytes = _mm512_permutexvar_epi8(index, _mm512_castsi256_si512(codes));
      const __m512i shift = _mm512_set1_epi64(int64_t{4} << 32);
      return _mm512_and_si512(_mm512_srlv_epi32(bytes, shift), _mm512_set1_epi8(0x0f));
    }
  }

  // The integers of 16 tokens, n = 256 * high + low.
  struct Digits {
    int8_t high[16], low[16];
  };

  // Lane 4i + a = the sum, or maximum, over all lanes of rows[a]; rows past the last are the first.
  template <int kR, typename Op>
  static __m512i ReduceRows(const __m512i (&rows)[kR], Op op) {
    const auto row = [&](int a) { return rows[a < kR ? a : 0]; };
    const auto pair = [&](__m512i x, __m512i y) {
      return op(_mm512_unpacklo_epi32(x, y), _mm512_unpackhi_epi32(x, y));
    };
    const __m512i x = pair(row(0), row(1));
    const __m512i y = kR > 2 ? pair(row(2), row(3)) : x;
    __m512i all = op(_mm512_unpacklo_epi64(x, y), _mm512_unpackhi_epi64(x, y));
    all = op(all, _mm512_shuffle_i32x4(all, all, 0x4e));
    return op(all, _mm512_shuffle_i32x4(all, all, 0xb1));
  }
  static __m512i Lane(__m512i x, int a) {
    switch (a) {
      case 0: return _mm512_shuffle_epi32(x, _MM_PERM_AAAA);
      case 1: return _mm512_shuffle_epi32(x, _MM_PERM_BBBB);
      case 2: return _mm512_shuffle_epi32(x, _MM_PERM_CCCC);
      default: return _mm512_shuffle_epi32(x, _MM_PERM_DDDD);
    }
  }

  template <int kR>
  static void Round(const __m512 (&w)[kR], int zero, Digits* digits, float* unit, int32_t* start) {
    static_assert(kR <= 4);
    constexpr __mmask8 kRows = (1 << kR) - 1;
    __m512i n[kR];
    for (int a = 0; a < kR; ++a) n[a] = _mm512_castps_si512(_mm512_abs_ps(w[a]));
    const __m128i bits = _mm512_castsi512_si128(
        ReduceRows<kR>(n, [](__m512i x, __m512i y) { return _mm512_max_epi32(x, y); }));
    const __m128 max = _mm_castsi128_ps(bits);
    const __mmask8 finite = _mm_cmplt_epi32_mask(bits, _mm_set1_epi32(0x7f800000));
    const __mmask8 some = finite & _mm_cmp_ps_mask(max, _mm_set1_ps(kLeastWeight), _CMP_GE_OQ);
    __m128 units = _mm_maskz_mul_ps(some, max, _mm_set1_ps(1 / kWeightLevels));
    units = _mm_mask_mov_ps(_mm_set1_ps(std::numeric_limits<float>::quiet_NaN()), finite, units);
    _mm_mask_storeu_ps(unit, kRows, units);
    const __m128 inverse = _mm_maskz_div_ps(some, _mm_set1_ps(kWeightLevels), max);
    const __m512i inverses = _mm512_castps_si512(_mm512_broadcast_f32x4(inverse));
    for (int a = 0; a < kR; ++a) {
      n[a] = _mm512_cvtps_epi32(_mm512_mul_ps(w[a], _mm512_castsi512_ps(Lane(inverses, a))));
    }
    const __m128i sum = _mm512_castsi512_si128(
        ReduceRows<kR>(n, [](__m512i x, __m512i y) { return _mm512_add_epi32(x, y); }));
    _mm_mask_storeu_epi32(start, kRows, _mm_mullo_epi32(sum, _mm_set1_epi32(-zero)));
    // The low digit is signed, so half of its range carries into the high one.
    const __m512i half = _mm512_set1_epi32(128);
    for (int a = 0; a < kR; ++a) {
      const __m512i high = _mm512_srai_epi32(_mm512_add_epi32(n[a], half), 8);
      _mm_store_si128(reinterpret_cast<__m128i*>(digits[a].high), _mm512_cvtepi32_epi8(high));
      _mm_store_si128(reinterpret_cast<__m128i*>(digits[a].low), _mm512_cvtepi32_epi8(n[a]));
    }
  }

  static __m512i BroadcastQuad(const int8_t* digits) {
    int32_t quad;
    std::memcpy(&quad, digits, sizeof(quad));
    return _mm512_set1_epi32(quad);
  }

  // sum[a][c] = start[a] + sum over 16 tokens of n[a] times the codes of vector c.
  template <int kBits, int kR, int kV>
  static void WeightedSums(const uint8_t* codes, const Digits* digits, const int32_t* start,
                           __m512i (&sum)[kR][kV]) {
    __m512i quad[4][kV];
    for (int u = 0; u < 4; ++u) {
      for (int c = 0; c < kV; ++c) {
        quad[u][c] = LoadQuad<kBits>(codes + (16 * c + 4 * u) * StripBytes(kBits));
      }
    }
    for (int a = 0; a < kR; ++a) {
      for (int c = 0; c < kV; ++c) sum[a][c] = _mm512_setzero_si512();
    }
    for (int u = 0; u < 4; ++u) {
      for (int a = 0; a < kR; ++a) {
        const __m512i n = BroadcastQuad(digits[a].high + 4 * u);
        for (int c = 0; c < kV; ++c) sum[a][c] = _mm512_dpbusd_epi32(sum[a][c], quad[u][c], n);
      }
    }
    for (int a = 0; a < kR; ++a) {
      const __m512i first = _mm512_set1_epi32(start[a]);
      for (int c = 0; c < kV; ++c) {
        sum[a][c] = _mm512_add_epi32(_mm512_slli_epi32(sum[a][c], 8), first);
      }
    }
    for (int u = 0; u < 4; ++u) {
      for (int a = 0; a < kR; ++a) {
        const __m512i n = BroadcastQuad(digits[a].low + 4 * u);
        for (int c = 0; c < kV; ++c) sum[a][c] = _mm512_dpbusd_epi32(sum[a][c], quad[u][c], n);
      }
    }
  }
};

}  // namespace

const AttendCodeKernels kAttendCodesAvx512 = AttendCodesSimd<Vector512, Codes>::Table();

}  // namespace kvasir
