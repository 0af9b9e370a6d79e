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
  static constexpr bool kUsesSigns = true;

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
  // side, the high ones first. The low digit is signed: half of its range carries into the high
  // one.
  static void PutLevels(const int32_t* level, std::byte* to, int step) {
    const __m512i n = _mm512_load_si512(level);
    const __m128i high =
        _mm512_cvtepi32_epi8(_mm512_srai_epi32(_mm512_add_epi32(n, _mm512_set1_epi32(128)), 8));
    const __m128i low = _mm512_cvtepi32_epi8(n);
    alignas(16) std::byte digits[32];
    _mm_store_si128(reinterpret_cast<__m128i*>(digits), _mm_unpacklo_epi32(high, low));
    _mm_store_si128(reinterpret_cast<__m128i*>(digits + 16), _mm_unpackhi_epi32(high, low));
    for (int quad = 0; quad < 4; ++quad) std::memcpy(to + quad * step, digits + 8 * quad, 8);
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
  //   q  integers of all rows for these channels
  template <int kBits, int kR>
  static void AddProducts(const std::byte* q, const uint8_t* strips, LogitSum (&sum)[kR]) {
    const __m512i quad = LoadQuad<kBits>(strips);
    for (int a = 0; a < kR; ++a) {
      sum[a].high = AddQuads(sum[a].high, quad, BroadcastQuad(q + 8 * a));
      sum[a].low = AddQuads(sum[a].low, quad, BroadcastQuad(q + 8 * a + 4));
    }
  }

  // Rounded weights of up to four rows for a tile, n = 256 * high + low: of each pair of rows the
  // low digits of one and the other, then the high ones. Where weights have signs, so do digits.
  struct alignas(64) Weights {
    uint8_t digits[2][64];
    int32_t start[4][4];  // each four times: what the middle takes off, where weights have signs

    const uint8_t* low(int row, int quad) const {
      return digits[row / 2] + row % 2 * 16 + 4 * quad;
    }
    const uint8_t* high(int row, int quad) const { return low(row, quad) + 32; }
  };

  // Lane 4i + a = the largest lane of rows[a], unsigned: not-a-numbers of either sign win; rows
  // past the last are the first.
  template <int kR>
  static __m512i MaxOfRows(const __m512i (&rows)[kR]) {
    const auto row = [&](int a) { return rows[a < kR ? a : 0]; };
    const auto pair = [](__m512i x, __m512i y) {
      return _mm512_max_epu32(_mm512_unpacklo_epi32(x, y), _mm512_unpackhi_epi32(x, y));
    };
    const __m512i x = pair(row(0), row(1));
    const __m512i y = kR > 2 ? pair(row(2), row(3)) : x;
    __m512i max = _mm512_max_epu32(_mm512_unpacklo_epi64(x, y), _mm512_unpackhi_epi64(x, y));
    max = _mm512_max_epu32(max, _mm512_shuffle_i32x4(max, max, 0x4e));
    return _mm512_max_epu32(max, _mm512_shuffle_i32x4(max, max, 0xb1));
  }

  // out[a] = ReduceAdd of row a, for four rows together.
  template <int kR>
  static void AddLanes(const __m512 (&rows)[kR], float* out) {
    const auto row = [&](int a) { return rows[a < kR ? a : 0]; };
    const auto halves = [](__m512 x, __m512 y) {
      return _mm512_add_ps(_mm512_shuffle_f32x4(x, y, 0x44), _mm512_shuffle_f32x4(x, y, 0xee));
    };
    const __m512 x = halves(row(0), row(1));
    const __m512 y = kR > 2 ? halves(row(2), row(3)) : x;
    __m512 sum = _mm512_add_ps(_mm512_shuffle_f32x4(x, y, 0x88), _mm512_shuffle_f32x4(x, y, 0xdd));
    sum = _mm512_add_ps(sum, _mm512_permute_ps(sum, 0x4e));
    sum = _mm512_add_ps(sum, _mm512_permute_ps(sum, 0xb1));
    // One lane of every four.
    const __m512i lanes = _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    _mm_store_ps(out, _mm512_castps512_ps128(_mm512_permutexvar_ps(lanes, sum)));
  }

  // The lowest bytes of 32 dwords, then their second bytes.
  static constexpr std::array<uint8_t, 64> DigitBytes() {
    std::array<uint8_t, 64> index{};
    for (int i = 0; i < 64; ++i) index[i] = static_cast<uint8_t>(4 * (i % 32) + i / 32);
    return index;
  }

  // largest[a] = that of row a's magnitudes.
  template <int kR, bool kSigned>
  static void Largest(const __m512 (&w)[kR], float* largest) {
    static_assert(kR <= 4);
    __m512i bits[kR];
    for (int a = 0; a < kR; ++a) {
      bits[a] = _mm512_castps_si512(kSigned ? _mm512_abs_ps(w[a]) : w[a]);
    }
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
          _mm512_cmplt_epu32_mask(_mm512_castps_si512(max), _mm512_set1_epi32(0x7f800000));
      const __mmask16 some =
          _mm512_mask_cmp_ps_mask(finite, max, _mm512_set1_ps(kLeastWeight), _CMP_GE_OQ);
      _mm512_store_ps(inverse + i, _mm512_maskz_div_ps(some, levels, max));
      const __m512 units = _mm512_maskz_mul_ps(some, max, _mm512_set1_ps(1 / kWeightLevels));
      _mm512_store_ps(unit + i, _mm512_mask_mov_ps(not_a_number, finite, units));
    }
  }

  template <int kR, bool kSigned>
  static void Round(const __m512 (&w)[kR], const float* inverse, int middle, Weights& out) {
    __m512i n[kR];
    for (int a = 0; a < kR; ++a) {
      n[a] = _mm512_cvtps_epi32(_mm512_mul_ps(w[a], _mm512_set1_ps(inverse[a])));
      // The low digit is signed then: half of its range carries into the high one.
      if constexpr (kSigned) n[a] = _mm512_add_epi32(n[a], _mm512_set1_epi32(128));
    }
    alignas(64) static constexpr std::array<uint8_t, 64> kDigits = DigitBytes();
    const __m512i bytes = _mm512_load_si512(kDigits.data());
    const auto row = [&](int a) { return n[a < kR ? a : 0]; };
    __m512i x = _mm512_permutex2var_epi8(row(0), bytes, row(1));
    __m512i y = kR > 2 ? _mm512_permutex2var_epi8(row(2), bytes, row(3)) : x;
    if constexpr (kSigned) {
      const __m512i carried = _mm512_zextsi256_si512(_mm256_set1_epi8(INT8_MIN));
      x = _mm512_xor_si512(x, carried);
      y = _mm512_xor_si512(y, carried);
      const __m512i worth = _mm512_inserti64x4(_mm512_set1_epi32(8), _mm256_setzero_si256(), 0);
      const auto sums = [&](__m512i digits) {
        return _mm512_sllv_epi32(
            _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_set1_epi8(1), digits), worth);
      };
      const __m512i of_x = sums(x), of_y = sums(y);
      __m512i sum = _mm512_add_epi32(_mm512_shuffle_i64x2(of_x, of_y, 0x44),
                                     _mm512_shuffle_i64x2(of_x, of_y, 0xee));
      sum = _mm512_add_epi32(sum, _mm512_shuffle_epi32(sum, _MM_PERM_BADC));
      sum = _mm512_add_epi32(sum, _mm512_shuffle_epi32(sum, _MM_PERM_CDAB));
      _mm512_store_si512(out.start, _mm512_mullo_epi32(sum, _mm512_set1_epi32(-middle)));
    }
    _mm512_store_si512(out.digits[0], x);
    if constexpr (kR > 2) _mm512_store_si512(out.digits[1], y);
  }

  // Codes from the middle of their range.
  template <int kBits>
  static __m512i Centred(__m512i codes) {
    return kBits == 8 ? _mm512_xor_si512(codes, _mm512_set1_epi8(INT8_MIN))
                      : _mm512_sub_epi8(codes, _mm512_set1_epi8(8));
  }

  // sum[a][c] = sum over 16 tokens of n of row a times the codes, less the middle, of vector c.
  template <int kBits, int kR, int kV, bool kSigned>
  static void WeightedSums(const uint8_t* codes, const Weights& weights, __m512i (&sum)[kR][kV]) {
    __m512i quad[4][kV];
    for (int u = 0; u < 4; ++u) {
      for (int c = 0; c < kV; ++c) {
        quad[u][c] = LoadQuad<kBits>(codes + (16 * c + 4 * u) * StripBytes(kBits));
        if constexpr (!kSigned) quad[u][c] = Centred<kBits>(quad[u][c]);
      }
    }
    const auto add = [&](__m512i to, __m512i codes, __m512i digits) {
      return kSigned ? AddQuads(to, codes, digits) : AddQuads(to, digits, codes);
    };
    for (int a = 0; a < kR; ++a) {
      for (int c = 0; c < kV; ++c) sum[a][c] = _mm512_setzero_si512();
    }
    for (int u = 0; u < 4; ++u) {
      for (int a = 0; a < kR; ++a) {
        const __m512i n = BroadcastQuad(weights.high(a, u));
        for (int c = 0; c < kV; ++c) sum[a][c] = add(sum[a][c], quad[u][c], n);
      }
    }
    for (int a = 0; a < kR; ++a) {
      for (int c = 0; c < kV; ++c) {
        sum[a][c] = _mm512_slli_epi32(sum[a][c], 8);
        if constexpr (kSigned) {
          sum[a][c] = _mm512_add_epi32(sum[a][c], _mm512_set1_epi32(weights.start[a][0]));
        }
      }
    }
    for (int u = 0; u < 4; ++u) {
      for (int a = 0; a < kR; ++a) {
        const __m512i n = BroadcastQuad(weights.low(a, u));
        for (int c = 0; c < kV; ++c) sum[a][c] = add(sum[a][c], quad[u][c], n);
      }
    }
  }
};

}  // namespace

const AttendCodeKernels kAttendCodesAvx512 = AttendCodesSimd<Vector512, Codes>::Table();

}  // namespace kvasir
