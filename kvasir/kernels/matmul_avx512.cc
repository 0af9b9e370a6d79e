// Panels of 16 rows in 512-bit registers, VNNI for integer products.
#ifndef __clang__  // g++ 12 takes its own intrinsics for uninitialised reads (PR105593)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>

#include <array>

#include "kvasir/kernels/matmul_panel-inl.h"

namespace kvasir {
namespace {

template <typename T>
T LoadAs(const void* at) {
  T value;
  std::memcpy(&value, at, sizeof(value));
  return value;
}

struct Avx512 {
  using I = __m512i;  // 16 int32, or 16 times four bytes
  using F = __m512;
  static constexpr int kLanes = 16;
  static constexpr bool kSignedBytes = false;  // the product takes unsigned codes

  static I Zero() { return _mm512_setzero_si512(); }
  static F ZeroFloat() { return _mm512_setzero_ps(); }
  static I Constant(uint32_t x) { return _mm512_set1_epi32(static_cast<int>(x)); }
  static I Broadcast(const void* at) { return _mm512_set1_epi32(LoadAs<int32_t>(at)); }
  static F BroadcastFloat(const void* at) { return _mm512_set1_ps(LoadAs<float>(at)); }
  static I And(I a, uint32_t mask) { return _mm512_and_si512(a, Constant(mask)); }
  static I Xor(I a, uint32_t mask) { return _mm512_xor_si512(a, Constant(mask)); }
  static I Or(I a, I b) { return _mm512_or_si512(a, b); }
  static I Add(I a, I b) { return _mm512_add_epi32(a, b); }
  static I Sub(I a, I b) { return _mm512_sub_epi32(a, b); }
  static I Mul(I a, I b) { return _mm512_mullo_epi32(a, b); }
  template <int n>
  static I Shl(I a) {
    return _mm512_slli_epi32(a, n);
  }
  template <int n>
  static I Shr(I a) {
    return _mm512_srli_epi32(a, n);
  }
  template <int n>
  static I Sar(I a) {
    return _mm512_srai_epi32(a, n);
  }
  static F ToFloat(I a) { return _mm512_cvtepi32_ps(a); }
  static F Mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F Fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static F FmaNegated(F a, F b, F c) { return _mm512_fnmadd_ps(a, b, c); }

  // acc + code . q over 4 * n columns; q is broadcast to every row.
  template <int kMaxCode, int n>
  static I Dot(I acc, const I* code, const std::byte* q) {
    if constexpr (n == 8) {  // two chains: one alone would wait for itself
      return Add(Dot<kMaxCode, 4>(acc, code, q), Dot<kMaxCode, 4>(Zero(), code + 4, q + 16));
    }
#pragma GCC unroll 8
    for (int i = 0; i < n; ++i) acc = _mm512_dpbusd_epi32(acc, code[i], Broadcast(q + 4 * i));
    return acc;
  }
  template <int kMaxCode, int n>
  static I ScaledDot(I acc, I scale, const I* code, const std::byte* q) {
    return Add(acc, Mul(Dot<kMaxCode, n>(Zero(), code, q), scale));
  }
  // Scales are int32.
  template <int i>
  static I ScaleOf(I bytes) {
    return And(Shr<8 * i>(bytes), 0xff);
  }
  template <int i>
  static I SignedScaleOf(I bytes) {
    return Sar<24>(Shl<24 - 8 * i>(bytes));
  }
  template <int i>
  static I PairOf(I bytes) {
    return Or(ScaleOf<i>(bytes), Shl<16>(ScaleOf<i + 1>(bytes)));
  }
  template <int i>
  static I SignedPairOf(I bytes) {
    return Or(And(SignedScaleOf<i>(bytes), 0xffff), Shl<16>(SignedScaleOf<i + 1>(bytes)));
  }
  static I DotPairs(I acc, I pairs, const std::byte* sums) {
    return _mm512_dpwssd_epi32(acc, pairs, Broadcast(sums));
  }

  static __mmask16 Mask(int rows) { return static_cast<__mmask16>((1u << rows) - 1); }
  static F LoadRows(const float* y, int rows) { return _mm512_maskz_loadu_ps(Mask(rows), y); }
  static void StoreRows(float* y, int rows, F value) {
    _mm512_mask_storeu_ps(y, Mask(rows), value);
  }

  // out[j] lane r = dword j of row r's 16 bytes. 128-bit lane l of quad[i] is row 4 * l + i, so
  // that a transposition inside 128-bit lanes puts rows in order.
  static void LoadTransposed(PanelAt at, I* out) {
    I quad[4];
    for (size_t i = 0; i < 4; ++i) {
      const auto row = [&](size_t l) {
        return _mm_loadu_si128(reinterpret_cast<const __m128i*>(at.p + (4 * l + i) * at.stride));
      };
      I x = _mm512_castsi128_si512(row(0));
      x = _mm512_inserti32x4(x, row(1), 1);
      x = _mm512_inserti32x4(x, row(2), 2);
      quad[i] = _mm512_inserti32x4(x, row(3), 3);
    }
    Transpose4(quad, out);
  }

  static I LoadDword(PanelAt at) {
    alignas(64) uint32_t lanes[16];
    for (size_t r = 0; r < 16; ++r) lanes[r] = LoadAs<uint32_t>(at.p + r * at.stride);
    return _mm512_load_si512(lanes);
  }
  static F LoadHalf(PanelAt at) {
    const auto h = [&](size_t r) { return LoadAs<int16_t>(at.p + r * at.stride); };
    return _mm512_cvtph_ps(_mm256_set_epi16(h(15), h(14), h(13), h(12), h(11), h(10), h(9), h(8),
                                            h(7), h(6), h(5), h(4), h(3), h(2), h(1), h(0)));
  }
  static F LowHalf(I dwords) { return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(dwords)); }
  static F HighHalf(I dwords) { return LowHalf(Shr<16>(dwords)); }

  // The low four bits of each dword, one to bit 4 of each of its bytes: every byte takes the eight
  // bits that start four below its own bit, round the quadword.
  static I SpreadToFifthBits(I high) {
    const I start = _mm512_set1_epi64(0x1f1e1d1c3f3e3d3c);
    return And(_mm512_multishift_epi64_epi8(start, high), 0x10101010);
  }

  static void LoadTransposed(StripesAt at, I* out) {
    for (int j = 0; j < 4; ++j) out[j] = _mm512_loadu_si512(at.p + 64 * j);
  }
  static I LoadDword(StripesAt at) { return _mm512_loadu_si512(at.p); }
  static F LoadHalf(StripesAt at) { return _mm512_cvtph_ps(LoadAs<__m256i>(at.p)); }

  // Weights that are floats: kStep columns of every row at once, handed over in ascending order, or
  // one. A step is a whole cache line of each row, since rows that lie a power of two apart would
  // evict each other's lines between steps.
  struct F32 {
    static constexpr size_t kBytes = 4;
    static constexpr int kStep = 16;
    template <class Take>
    static void LoadColumns(PanelAt at, const Take& take) {
      I half[16];
      LoadHalfTransposed(at, half);
      for (int i = 0; i < 16; ++i) take(i, _mm512_castsi512_ps(Column(half, i)));
    }
    static F LoadColumn(PanelAt at) { return _mm512_castsi512_ps(LoadDword(at)); }
  };
  struct BF16 {
    static constexpr size_t kBytes = 2;
    static constexpr int kStep = 32;
    template <class Take>
    static void LoadColumns(PanelAt at, const Take& take) {
      I half[16];
      LoadHalfTransposed(at, half);
      for (int i = 0; i < 16; ++i) {
        const I pair = Column(half, i);
        take(2 * i, _mm512_castsi512_ps(Shl<16>(pair)));
        take(2 * i + 1, _mm512_castsi512_ps(And(pair, 0xffff0000)));
      }
    }
    static F LoadColumn(PanelAt at) {
      alignas(64) uint32_t lanes[16];
      for (size_t r = 0; r < 16; ++r) {
        lanes[r] = static_cast<uint32_t>(LoadAs<uint16_t>(at.p + r * at.stride)) << 16;
      }
      return _mm512_castsi512_ps(_mm512_load_si512(lanes));
    }
  };
  struct F16 {
    static constexpr size_t kBytes = 2;
    static constexpr int kStep = 32;
    template <class Take>
    static void LoadColumns(PanelAt at, const Take& take) {
      I half[16];
      LoadHalfTransposed(at, half);
      for (int i = 0; i < 16; ++i) {
        const I columns = WordColumns(half, i);
        take(2 * i, _mm512_cvtph_ps(_mm512_castsi512_si256(columns)));
        take(2 * i + 1, _mm512_cvtph_ps(_mm512_extracti64x4_epi64(columns, 1)));
      }
    }
    static F LoadColumn(PanelAt at) { return LoadHalf(at); }
  };

 private:
  // A 16 x 16 transposition of dwords but for its last stage. With `i` = 4 * q + j, dword column i
  // is in half[j + 4 * (q % 2 + 2 * h)] for rows 8 * h .. 8 * h + 7, in 128-bit lanes q / 2 and
  // q / 2 + 2: rows 8 * h .. and 8 * h + 4 .. .
  static void LoadHalfTransposed(PanelAt at, I* half) {
    I quad[16];  // quad[4 * g + j]: dword j of each 128-bit lane, of rows 4 * g .. 4 * g + 3
    for (size_t g = 0; g < 4; ++g) {
      I row[4];
      for (size_t i = 0; i < 4; ++i) row[i] = _mm512_loadu_si512(at.p + (4 * g + i) * at.stride);
      Transpose4(row, quad + 4 * g);
    }
    for (int j = 0; j < 4; ++j) {
      for (int h = 0; h < 2; ++h) {
        const I low = quad[8 * h + j];
        const I high = quad[8 * h + 4 + j];
        half[j + 8 * h] = _mm512_shuffle_i32x4(low, high, 0x88);      // lanes 0, 2
        half[j + 8 * h + 4] = _mm512_shuffle_i32x4(low, high, 0xdd);  // lanes 1, 3
      }
    }
  }
  static I Column(const I* half, int i) {
    const int q = i / 4, at = i % 4 + 4 * (q % 2);
    return q < 2 ? _mm512_shuffle_i32x4(half[at], half[at + 8], 0x88)
                 : _mm512_shuffle_i32x4(half[at], half[at + 8], 0xdd);
  }
  // Column i as words: the low ones of all rows, then the high ones.
  static I WordColumns(const I* half, int i) {
    alignas(64) static constexpr auto kWords = [] {
      std::array<std::array<uint16_t, 32>, 2> index{};
      for (int odd = 0; odd < 2; ++odd) {
        for (int r = 0; r < 16; ++r) {
          const int dword = 16 * (r / 8) + 8 * (r / 4 % 2) + 4 * odd + r % 4;
          index[odd][r] = static_cast<uint16_t>(2 * dword);
          index[odd][16 + r] = static_cast<uint16_t>(2 * dword + 1);
        }
      }
      return index;
    }();
    const int q = i / 4, at = i % 4 + 4 * (q % 2);
    return _mm512_permutex2var_epi16(half[at], _mm512_load_si512(kWords[q / 2].data()),
                                     half[at + 8]);
  }

  // In each 128-bit lane, out[j] = dword j of the four rows.
  static void Transpose4(const I* row, I* out) {
    const I low01 = _mm512_unpacklo_epi32(row[0], row[1]);
    const I low23 = _mm512_unpacklo_epi32(row[2], row[3]);
    const I high01 = _mm512_unpackhi_epi32(row[0], row[1]);
    const I high23 = _mm512_unpackhi_epi32(row[2], row[3]);
    out[0] = _mm512_unpacklo_epi64(low01, low23);
    out[1] = _mm512_unpackhi_epi64(low01, low23);
    out[2] = _mm512_unpacklo_epi64(high01, high23);
    out[3] = _mm512_unpackhi_epi64(high01, high23);
  }
};

}  // namespace

const MatMulKernels kMatMulAvx512 = {RowsOf<Avx512>, PrepareTile};

}  // namespace kvasir
