#include <array>
#include <cstring>

#include "kvasir/kernels/attend_codes_simd.h"
#include "kvasir/kernels/vector_avx512.h"

namespace kvasir {

extern const AttendCodeKernels kAttendCodesAvx512;

namespace {

struct Codes {
  // The register blocks that fit 32 registers.
  static constexpr int kLogitRows = 4;
  static constexpr int kValueRows = 4, kValueVectors = 2;

  using Ints = __m512i;

  static __m512 ToFloat(Ints x) { return _mm512_cvtepi32_ps(x); }

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

  static __m512i BroadcastQuad(const void* digits) {
    int32_t quad;
    std::memcpy(&quad, digits, sizeof(quad));
    return _mm512_set1_epi32(quad);
  }

  // sum + products of unsigned codes and signed digits. Spelled out, because compilers copy sums of
  // the intrinsic to other registers and back, and then run out of them.
  static __m512i AddQuads(__m512i sum, __m512i codes, __m512i digits) {
    asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(codes), "v"(digits));
    return sum;
  }

  // A query's integers are two digits each, n = 256 * high + low: those of four channels side by
  // side, the high ones first.
  static int LevelAt(int j) { return 2 * j; }
  static void PutLevel(std::byte* row, int j, int32_t n) {
    std::byte* quad = row + LevelAt(j / 4 * 4);
    quad[j % 4] = static_cast<std::byte>((n + 128) >> 8);
    quad[4 + j % 4] = static_cast<std::byte>(n);
  }

  struct LogitSum {
    __m512i high, low;
  };
  static LogitSum StartLogit(int32_t start) {
    return {_mm512_setzero_si512(), _mm512_set1_epi32(start)};
  }
  static __m512i Total(LogitSum sum) {
    return _mm512_add_epi32(sum.low, _mm512_slli_epi32(sum.high, 8));
  }

  // sum[a] += n of row a times the codes of four strips of channels.
  //   q  integers of the first row, from the first of these channels on
  template <int kBits, int kR>
  static void AddProducts(const std::byte* q, int d, const uint8_t* strips, LogitSum (&sum)[kR]) {
    const __m512i quad = LoadQuad<kBits>(strips);
    for (int a = 0; a < kR; ++a) {
      sum[a].high = AddQuads(sum[a].high, quad, BroadcastQuad(q + 2 * a * d));
      sum[a].low = AddQuads(sum[a].low, quad, BroadcastQuad(q + 2 * a * d + 4));
    }
  }

  // Rounded weights of up to four rows for a tile, n = 256 * high + low.
  struct alignas(64) Weights {
    int8_t high[4][16], low[4][16];
    int32_t start[4][4];  // each four times: what the middle takes off
  };

  // Lane 4i + a = the largest lane of rows[a]; rows past the last are the first.
  template <int kR>
  static __m512i MaxOfRows(const __m512i (&rows)[kR]) {
    const auto row = [&](int a) { return rows[a < kR ? a : 0]; };
    const auto pair = [](__m512i x, __m512i y) {
      return _mm512_max_epi32(_mm512_unpacklo_epi32(x, y), _mm512_unpackhi_epi32(x, y));
    };
    const __m512i x = pair(row(0), row(1));
    const __m512i y = kR > 2 ? pair(row(2), row(3)) : x;
    __m512i max = _mm512_max_epi32(_mm512_unpacklo_epi64(x, y), _mm512_unpackhi_epi64(x, y));
    max = _mm512_max_epi32(max, _mm512_shuffle_i32x4(max, max, 0x4e));
    return _mm512_max_epi32(max, _mm512_shuffle_i32x4(max, max, 0xb1));
  }

  // The lowest bytes of 32 dwords, then their second bytes.
  static constexpr std::array<uint8_t, 64> DigitBytes() {
    std::array<uint8_t, 64> index{};
    for (int i = 0; i < 64; ++i) index[i] = static_cast<uint8_t>(4 * (i % 32) + i / 32);
    return index;
  }

  // largest[a] = that of row a's magnitudes.
  template <int kR>
  static void Largest(const __m512 (&w)[kR], float* largest) {
    static_assert(kR <= 4);
    __m512i bits[kR];
    for (int a = 0; a < kR; ++a) bits[a] = _mm512_castps_si512(_mm512_abs_ps(w[a]));
    _mm_store_si128(reinterpret_cast<__m128i*>(largest),
                    _mm512_castsi512_si128(MaxOfRows<kR>(bits)));
  }

  // WeightGridOf for the first n, and some more that are not looked at.
  static void Grids(int n, const float* largest, float* inverse, float* unit) {
    const __m512 levels = _mm512_set1_ps(kWeightLevels);
    const __m512 not_a_number = _mm512_set1_ps(std::numeric_limits<float>::quiet_NaN());
    for (int i = 0; i < n; i += 16) {
      const __m512 max = _mm512_load_ps(largest + i);
      const __mmask16 finite =
          _mm512_cmplt_epi32_mask(_mm512_castps_si512(max), _mm512_set1_epi32(0x7f800000));
      const __mmask16 some =
          _mm512_mask_cmp_ps_mask(finite, max, _mm512_set1_ps(kLeastWeight), _CMP_GE_OQ);
      _mm512_store_ps(inverse + i, _mm512_maskz_div_ps(some, levels, max));
      const __m512 units = _mm512_maskz_mul_ps(some, max, _mm512_set1_ps(1 / kWeightLevels));
      _mm512_store_ps(unit + i, _mm512_mask_mov_ps(not_a_number, finite, units));
    }
  }

  template <int kR>
  static void Round(const __m512 (&w)[kR], const float* inverse, int middle, Weights& out) {
    // The low digit is signed: half of its range carries into the high one.
    __m512i n[kR];
    for (int a = 0; a < kR; ++a) {
      n[a] = _mm512_add_epi32(_mm512_cvtps_epi32(_mm512_mul_ps(w[a], _mm512_set1_ps(inverse[a]))),
                              _mm512_set1_epi32(128));
    }
    alignas(64) static constexpr std::array<uint8_t, 64> kDigits = DigitBytes();
    const __m512i digits = _mm512_load_si512(kDigits.data());
    const auto row = [&](int a) { return n[a < kR ? a : 0]; };
    const __m512i x = _mm512_permutex2var_epi8(row(0), digits, row(1));
    const __m512i y = kR > 2 ? _mm512_permutex2var_epi8(row(2), digits, row(3)) : x;
    const __m512i low =
        _mm512_xor_si512(_mm512_shuffle_i64x2(x, y, 0x44), _mm512_set1_epi8(INT8_MIN));
    const __m512i high = _mm512_shuffle_i64x2(x, y, 0xee);
    const __m512i ones = _mm512_set1_epi8(1);
    __m512i sum = _mm512_dpbusd_epi32(_mm512_setzero_si512(), ones, high);
    sum = _mm512_dpbusd_epi32(_mm512_slli_epi32(sum, 8), ones, low);
    sum = _mm512_add_epi32(sum, _mm512_shuffle_epi32(sum, _MM_PERM_BADC));
    sum = _mm512_add_epi32(sum, _mm512_shuffle_epi32(sum, _MM_PERM_CDAB));
    _mm512_store_si512(out.high, high);
    _mm512_store_si512(out.low, low);
    _mm512_store_si512(out.start, _mm512_mullo_epi32(sum, _mm512_set1_epi32(-middle)));
  }

  // sum[a][c] = sum over 16 tokens of n of row a times the codes, less the middle, of vector c.
  template <int kBits, int kR, int kV>
  static void WeightedSums(const uint8_t* codes, const Weights& weights, __m512i (&sum)[kR][kV]) {
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
        const __m512i n = BroadcastQuad(weights.high[a] + 4 * u);
        for (int c = 0; c < kV; ++c) sum[a][c] = AddQuads(sum[a][c], quad[u][c], n);
      }
    }
    for (int a = 0; a < kR; ++a) {
      const __m512i first = _mm512_set1_epi32(weights.start[a][0]);
      for (int c = 0; c < kV; ++c) {
        sum[a][c] = _mm512_add_epi32(_mm512_slli_epi32(sum[a][c], 8), first);
      }
    }
    for (int u = 0; u < 4; ++u) {
      for (int a = 0; a < kR; ++a) {
        const __m512i n = BroadcastQuad(weights.low[a] + 4 * u);
        for (int c = 0; c < kV; ++c) sum[a][c] = AddQuads(sum[a][c], quad[u][c], n);
      }
    }
  }
};

}  // namespace

const AttendCodeKernels kAttendCodesAvx512 = AttendCodesSimd<Vector512, Codes>::Table();

}  // namespace kvasir
