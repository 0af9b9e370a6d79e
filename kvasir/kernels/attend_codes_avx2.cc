#include <bit>
#include <cstring>

#include "kvasir/kernels/attend_codes_simd.h"
#include "kvasir/kernels/vector_avx2.h"

namespace kvasir {

extern const AttendCodeKernels kAttendCodesAvx2;

namespace {

struct Codes {
  // The register blocks that fit 16 half-width registers.
  static constexpr int kLogitRows = 4;
  static constexpr int kValueRows = 4, kValueVectors = 1;
  static constexpr bool kUsesSigns = false;

  struct Ints {
    __m256i lo, hi;
  };
  using Pair = Ints;  // word 2i + s is code i of strip s

  static Ints SetInt(int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
  static Vector2x256::Reg ToFloat(Ints x) {
    return {_mm256_cvtepi32_ps(x.lo), _mm256_cvtepi32_ps(x.hi)};
  }
  static __m256i BroadcastPair(const void* n) {
    int32_t pair;
    std::memcpy(&pair, n, sizeof(pair));
    return _mm256_set1_epi32(pair);
  }
  static Ints AddPair(Ints sum, Pair codes, __m256i n) {
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
  // Two strips.
  template <int kBits>
  static Pair LoadPair(const uint8_t* strips) {
    const __m128i even = LoadBytes<kBits>(strips);
    const __m128i odd = LoadBytes<kBits>(strips + StripBytes(kBits));
    return {_mm256_cvtepu8_epi16(_mm_unpacklo_epi8(even, odd)),
            _mm256_cvtepu8_epi16(_mm_unpackhi_epi8(even, odd))};
  }

  // A query's integers are words.
  static void PutLevels(const int32_t* level, std::byte* to, int step) {
    for (int quad = 0; quad < 4; ++quad, to += step) {
      int16_t words[4];
      for (int s = 0; s < 4; ++s) words[s] = static_cast<int16_t>(level[4 * quad + s]);
      std::memcpy(to, words, sizeof(words));
    }
  }

  using LogitSum = Ints;
  static Ints StartLogit(int32_t start) { return SetInt(start); }
  static Ints Total(Ints sum) { return sum; }

  // sum[a] += n of row a times the codes of four strips of channels.
  //   q  integers of all rows for these channels
  template <int kBits, int kR>
  static void AddProducts(const std::byte* q, const uint8_t* strips, Ints (&sum)[kR]) {
    // One pair at a time: two would not leave the sums in registers.
    for (int i = 0; i < 4; i += 2) {
      const Pair pair = LoadPair<kBits>(strips + i * StripBytes(kBits));
      for (int a = 0; a < kR; ++a) {
        sum[a] = AddPair(sum[a], pair, BroadcastPair(q + 8 * a + 2 * i));
      }
    }
  }

  // Rounded weights of up to four rows for a tile.
  struct Weights {
    int16_t n[4][16];
    int32_t start[4];  // what the middle takes off
  };

  static uint32_t MaxBits(Vector2x256::Reg w) {
    const auto bits = [](__m256 x) {
      return _mm256_and_si256(_mm256_castps_si256(x), _mm256_set1_epi32(0x7fffffff));
    };
    const __m256i both = _mm256_max_epi32(bits(w.lo), bits(w.hi));
    __m128i max = _mm_max_epi32(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1));
    max = _mm_max_epi32(max, _mm_shuffle_epi32(max, 0x4e));
    return static_cast<uint32_t>(
        _mm_cvtsi128_si32(_mm_max_epi32(max, _mm_shuffle_epi32(max, 0xb1))));
  }
  static int32_t Sum(__m256i words) {
    const __m256i pairs = _mm256_madd_epi16(words, _mm256_set1_epi16(1));
    __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xb1)));
  }

  // largest[a] = that of row a's magnitudes; 0 for rows past the last.
  template <int kR, bool kSigned>
  static void Largest(const Vector2x256::Reg (&w)[kR], float* largest) {
    for (int a = 0; a < kValueRows; ++a) {
      largest[a] = a < kR ? std::bit_cast<float>(MaxBits(w[a < kR ? a : 0])) : 0.0f;
    }
  }

  // WeightGridOf for the first n.
  static void Grids(int n, const float* largest, float* inverse, float* unit) {
    for (int i = 0; i < n; ++i) {
      const WeightGrid grid = WeightGridOf(std::bit_cast<uint32_t>(largest[i]));
      inverse[i] = grid.inverse;
      unit[i] = grid.unit;
    }
  }

  // out[a] = ReduceAdd of row a.
  template <int kR>
  static void AddLanes(const Vector2x256::Reg (&rows)[kR], float* out) {
    for (int a = 0; a < kR; ++a) out[a] = Vector2x256::ReduceAdd(rows[a]);
  }

  template <int kR, bool kSigned>
  static void Round(const Vector2x256::Reg (&w)[kR], const float* inverse, int middle,
                    Weights& out) {
    for (int a = 0; a < kR; ++a) {
      const auto n = [&](__m256 x) {
        return _mm256_cvtps_epi32(_mm256_mul_ps(x, _mm256_set1_ps(inverse[a])));
      };
      const __m256i words =
          _mm256_permute4x64_epi64(_mm256_packs_epi32(n(w[a].lo), n(w[a].hi)), 0xd8);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out.n[a]), words);
      out.start[a] = -middle * Sum(words);
    }
  }

  // sum[a][c] = sum over 16 tokens of n of row a times the codes, less the middle, of vector c.
  template <int kBits, int kR, int kV, bool kSigned>
  static void WeightedSums(const uint8_t* codes, const Weights& weights, Ints (&sum)[kR][kV]) {
    for (int a = 0; a < kR; ++a) {
      for (int c = 0; c < kV; ++c) sum[a][c] = SetInt(weights.start[a]);
    }
    for (int t = 0; t < 16; t += 2) {
      for (int c = 0; c < kV; ++c) {
        const Pair pair = LoadPair<kBits>(codes + (16 * c + t) * StripBytes(kBits));
        for (int a = 0; a < kR; ++a) {
          sum[a][c] = AddPair(sum[a][c], pair, BroadcastPair(weights.n[a] + t));
        }
      }
    }
  }
};

}  // namespace

const AttendCodeKernels kAttendCodesAvx2 = AttendCodesSimd<Vector2x256, Codes>::Table();

}  // namespace kvasir
