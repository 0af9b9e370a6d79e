// Panels of 8 rows in 256-bit registers. Byte products are summed pairwise to int16, which must not
// saturate: codes up to 63 are multiplied unsigned; bytes of Q8_0 by magnitude, the sign moved to
// the activations, which lie in [-127, 127].
#include <immintrin.h>

#include "kvasir/kernels/matmul_panel-inl.h"

namespace kvasir {
namespace {

template <typename T>
T LoadAs(const void* at) {
  T value;
  std::memcpy(&value, at, sizeof(value));
  return value;
}

struct Avx2 {
  using I = __m256i;
  using F = __m256;
  static constexpr int kLanes = 8;
  static constexpr bool kSignedBytes = true;

  static I Zero() { return _mm256_setzero_si256(); }
  static F ZeroFloat() { return _mm256_setzero_ps(); }
  static I Constant(uint32_t x) { return _mm256_set1_epi32(static_cast<int>(x)); }
  static I Broadcast(const void* at) { return _mm256_set1_epi32(LoadAs<int32_t>(at)); }
  static F BroadcastFloat(const void* at) { return _mm256_set1_ps(LoadAs<float>(at)); }
  static I And(I a, uint32_t mask) { return _mm256_and_si256(a, Constant(mask)); }
  static I Or(I a, I b) { return _mm256_or_si256(a, b); }
  static I Add(I a, I b) { return _mm256_add_epi32(a, b); }
  static I Sub(I a, I b) { return _mm256_sub_epi32(a, b); }
  static I Mul(I a, I b) { return _mm256_mullo_epi32(a, b); }
  template <int n>
  static I Shl(I a) {
    return _mm256_slli_epi32(a, n);
  }
  template <int n>
  static I Shr(I a) {
    return _mm256_srli_epi32(a, n);
  }
  template <int n>
  static I Sar(I a) {
    return _mm256_srai_epi32(a, n);
  }
  static F ToFloat(I a) { return _mm256_cvtepi32_ps(a); }
  static F Mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static F Fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  static F FmaNegated(F a, F b, F c) { return _mm256_fnmadd_ps(a, b, c); }

  template <int kMaxCode, int n>
  static I Dot(I acc, const I* code, const std::byte* q) {
    return ScaledDot<kMaxCode, n>(acc, _mm256_set1_epi16(1), code, q);
  }
  // acc + scale * (code . q); a scale is twice the same int16, for the two halves of a sum.
  template <int kMaxCode, int n>
  static I ScaledDot(I acc, I scale, const I* code, const std::byte* q) {
    // How many sums of two products fit an int16: 8, 4 or 2.
    constexpr int kFit = kMaxCode == 255 ? 1 : 32767 / (2 * 127 * kMaxCode);
    constexpr int kRun = std::min(kFit, n);
    static_assert(n % kRun == 0);
#pragma GCC unroll 8
    for (int i = 0; i < n; i += kRun) {
      I sum = Pairs<kMaxCode>(code[i], Broadcast(q + 4 * i));
      for (int j = i + 1; j < i + kRun; ++j) {
        sum = _mm256_add_epi16(sum, Pairs<kMaxCode>(code[j], Broadcast(q + 4 * j)));
      }
      acc = Add(acc, _mm256_madd_epi16(sum, scale));
    }
    return acc;
  }
  template <int i>
  static I ScaleOf(I bytes) {
    return _mm256_shuffle_epi8(bytes, InEachDword(0x80008000 | i << 16 | i));
  }
  template <int i>
  static I SignedScaleOf(I bytes) {
    return Halve(_mm256_shuffle_epi8(bytes, InEachDword(0x00800080 | i << 24 | i << 8)));
  }
  template <int i>
  static I PairOf(I bytes) {
    return _mm256_shuffle_epi8(bytes, InEachDword(0x80008000 | (i + 1) << 16 | i));
  }
  template <int i>
  static I SignedPairOf(I bytes) {
    return Halve(_mm256_shuffle_epi8(bytes, InEachDword(0x00800080 | (i + 1) << 24 | i << 8)));
  }
  static I DotPairs(I acc, I pairs, const std::byte* sums) {
    return Add(acc, _mm256_madd_epi16(pairs, Broadcast(sums)));
  }

  static I Mask(int rows) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(rows), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static F LoadRows(const float* y, int rows) { return _mm256_maskload_ps(y, Mask(rows)); }
  static void StoreRows(float* y, int rows, F value) { _mm256_maskstore_ps(y, Mask(rows), value); }

  // out[j] lane r = dword j of row r's 16 bytes; 128-bit lane l of quad[i] is row 4 * l + i.
  static void LoadTransposed(PanelAt at, I* out) {
    I quad[4];
    for (size_t i = 0; i < 4; ++i) {
      const auto row = [&](size_t l) {
        return _mm_loadu_si128(reinterpret_cast<const __m128i*>(at.p + (4 * l + i) * at.stride));
      };
      quad[i] = _mm256_set_m128i(row(1), row(0));
    }
    Transpose(quad, out);
  }

  static I LoadDword(PanelAt at) {
    alignas(32) uint32_t lanes[8];
    for (size_t r = 0; r < 8; ++r) lanes[r] = LoadAs<uint32_t>(at.p + r * at.stride);
    return _mm256_load_si256(reinterpret_cast<const I*>(lanes));
  }
  static F LoadHalf(PanelAt at) {
    const auto h = [&](size_t r) { return LoadAs<int16_t>(at.p + r * at.stride); };
    return _mm256_cvtph_ps(_mm_set_epi16(h(7), h(6), h(5), h(4), h(3), h(2), h(1), h(0)));
  }
  static F LowHalf(I dwords) {
    const I words = And(dwords, 0xffff);
    return _mm256_cvtph_ps(
        _mm_packus_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
  }
  static F HighHalf(I dwords) { return LowHalf(Shr<16>(dwords)); }

  static void LoadTransposed(StripesAt at, I* out) {
    for (int j = 0; j < 4; ++j) out[j] = LoadAs<I>(at.p + 64 * j + 4 * at.lane);
  }
  static I LoadDword(StripesAt at) { return LoadAs<I>(at.p + 4 * at.lane); }
  static F LoadHalf(StripesAt at) { return _mm256_cvtph_ps(LoadAs<__m128i>(at.p + 2 * at.lane)); }

  // The low four bits of each dword, one to bit 4 of each of its bytes: the product makes four
  // copies, each one bit short of the next byte.
  static I SpreadToFifthBits(I high) {
    const I copies = Mul(And(high, 0xf), Constant(0x00204081));
    return Shl<4>(And(copies, 0x01010101));
  }

  struct F32 {
    static constexpr size_t kBytes = 4;
    static constexpr int kStep = 4;
    template <class Take>
    static void LoadColumns(PanelAt at, const Take& take) {
      I raw[4];
      LoadTransposed(at, raw);
      for (int i = 0; i < 4; ++i) take(i, _mm256_castsi256_ps(raw[i]));
    }
    static F LoadColumn(PanelAt at) { return _mm256_castsi256_ps(LoadDword(at)); }
  };
  struct F16 {
    static constexpr size_t kBytes = 2;
    static constexpr int kStep = 8;
    template <class Take>
    static void LoadColumns(PanelAt at, const Take& take) {
      I raw[4];
      LoadTransposed(at, raw);
      for (int i = 0; i < 4; ++i) {
        take(2 * i, LowHalf(raw[i]));
        take(2 * i + 1, HighHalf(raw[i]));
      }
    }
    static F LoadColumn(PanelAt at) { return LoadHalf(at); }
  };
  struct BF16 {
    static constexpr size_t kBytes = 2;
    static constexpr int kStep = 8;
    template <class Take>
    static void LoadColumns(PanelAt at, const Take& take) {
      I raw[4];
      LoadTransposed(at, raw);
      for (int i = 0; i < 4; ++i) {
        take(2 * i, _mm256_castsi256_ps(Shl<16>(raw[i])));
        take(2 * i + 1, _mm256_castsi256_ps(And(raw[i], 0xffff0000)));
      }
    }
    static F LoadColumn(PanelAt at) {
      alignas(32) uint32_t lanes[8];
      for (size_t r = 0; r < 8; ++r) {
        lanes[r] = static_cast<uint32_t>(LoadAs<uint16_t>(at.p + r * at.stride)) << 16;
      }
      return _mm256_castsi256_ps(_mm256_load_si256(reinterpret_cast<const I*>(lanes)));
    }
  };

 private:
  // A choice of bytes from each dword, as _mm256_shuffle_epi8 takes it; 0x80 gives zero.
  static I InEachDword(uint32_t choice) {
    const I first = _mm256_setr_epi32(0, 0x04040404, 0x08080808, 0x0c0c0c0c, 0, 0x04040404,
                                      0x08080808, 0x0c0c0c0c);
    return _mm256_add_epi8(first, Constant(choice));
  }
  // The upper bytes of int16s.
  static I Halve(I words) { return _mm256_srai_epi16(words, 8); }

  // int16 sums of the products of bytes 2i and 2i + 1.
  template <int kMaxCode>
  static I Pairs(I code, I q) {
    if constexpr (kMaxCode == 255) {
      return _mm256_maddubs_epi16(_mm256_abs_epi8(code), _mm256_sign_epi8(q, code));
    } else {
      return _mm256_maddubs_epi16(code, q);
    }
  }

  static void Transpose(const I* quad, I* out) {
    const I low01 = _mm256_unpacklo_epi32(quad[0], quad[1]);
    const I low23 = _mm256_unpacklo_epi32(quad[2], quad[3]);
    const I high01 = _mm256_unpackhi_epi32(quad[0], quad[1]);
    const I high23 = _mm256_unpackhi_epi32(quad[2], quad[3]);
    out[0] = _mm256_unpacklo_epi64(low01, low23);
    out[1] = _mm256_unpackhi_epi64(low01, low23);
    out[2] = _mm256_unpacklo_epi64(high01, high23);
    out[3] = _mm256_unpackhi_epi64(high01, high23);
  }
};

}  // namespace

const MatMulKernels kMatMulAvx2 = {RowsOf<Avx2>, PrepareTile};

}  // namespace kvasir
