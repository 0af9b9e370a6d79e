// Sixteen float lanes for kernels written once over a vector type (attend_simd.h,
// elementwise_simd.h). Included only by *_avx2.cc files.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace kvasir {
namespace {

// Sixteen lanes as two registers.
struct Vector2x256 {
  struct Reg {
    __m256 lo, hi;
  };
  template <typename F>
  static Reg Map(Reg a, F f) {
    return {f(a.lo), f(a.hi)};
  }
  template <typename F>
  static Reg Map(Reg a, Reg b, F f) {
    return {f(a.lo, b.lo), f(a.hi, b.hi)};
  }

  static Reg Load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  static Reg LoadHalf(const uint16_t* p) {
    return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))),
            _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 8)))};
  }
  static void Store(float* p, Reg v) {
    _mm256_storeu_ps(p, v.lo);
    _mm256_storeu_ps(p + 8, v.hi);
  }
  static void StoreHalf(uint16_t* p, Reg v) {
    constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(v.lo, kNearest));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 8), _mm256_cvtps_ph(v.hi, kNearest));
  }
  static Reg Set1(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
  static Reg Zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
  static Reg Fma(Reg a, Reg b, Reg c) {
    return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
  }
  static Reg Add(Reg a, Reg b) {
    return Map(a, b, [](__m256 x, __m256 y) { return _mm256_add_ps(x, y); });
  }
  static Reg Sub(Reg a, Reg b) {
    return Map(a, b, [](__m256 x, __m256 y) { return _mm256_sub_ps(x, y); });
  }
  static Reg Mul(Reg a, Reg b) {
    return Map(a, b, [](__m256 x, __m256 y) { return _mm256_mul_ps(x, y); });
  }
  static Reg Div(Reg a, Reg b) {
    return Map(a, b, [](__m256 x, __m256 y) { return _mm256_div_ps(x, y); });
  }
  static Reg Max(Reg a, Reg b) {
    return Map(a, b, [](__m256 x, __m256 y) { return _mm256_max_ps(x, y); });
  }
  static Reg Min(Reg a, Reg b) {
    return Map(a, b, [](__m256 x, __m256 y) { return _mm256_min_ps(x, y); });
  }
  static Reg Floor(Reg a) {
    return Map(a, [](__m256 x) { return _mm256_floor_ps(x); });
  }
  static Reg Abs(Reg a) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return Map(a, [&](__m256 x) { return _mm256_andnot_ps(sign, x); });
  }
  static Reg CopySign(Reg magnitude, Reg sign) {
    const __m256 bit = _mm256_set1_ps(-0.0f);
    return Map(magnitude, sign, [&](__m256 m, __m256 s) {
      return _mm256_or_ps(_mm256_andnot_ps(bit, m), _mm256_and_ps(bit, s));
    });
  }
  static float ReduceMax(Reg a) {
    __m256 m = _mm256_max_ps(a.lo, a.hi);
    __m128 h = _mm_max_ps(_mm256_castps256_ps128(m), _mm256_extractf128_ps(m, 1));
    h = _mm_max_ps(h, _mm_movehl_ps(h, h));
    return _mm_cvtss_f32(_mm_max_ss(h, _mm_movehdup_ps(h)));
  }
  // Lane i with i + 8, then i + 4, i + 2, i + 1.
  static float ReduceAdd(Reg a) {
    const __m256 h = _mm256_add_ps(a.lo, a.hi);
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
  }
  static Reg Scale(Reg value, Reg n) {
    return Map(value, n, [](__m256 v, __m256 e) {
      const __m256 normal = _mm256_cmp_ps(e, _mm256_set1_ps(-126), _CMP_GE_OQ);
      // Above 2^127 the bits would wrap: such a product has overflowed anyway.
      const __m256 bounded =
          _mm256_min_ps(_mm256_max_ps(e, _mm256_set1_ps(-126)), _mm256_set1_ps(127));
      const __m256i bits = _mm256_slli_epi32(
          _mm256_add_epi32(_mm256_cvtps_epi32(bounded), _mm256_set1_epi32(127)), 23);
      return _mm256_and_ps(normal, _mm256_mul_ps(v, _mm256_castsi256_ps(bits)));
    });
  }
  static Reg Expand(uint16_t mask) {
    const __m256i bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    const auto half = [&](int m) {
      const __m256i on = _mm256_and_si256(_mm256_set1_epi32(m), bits);
      return _mm256_castsi256_ps(_mm256_cmpeq_epi32(on, bits));
    };
    return {half(mask & 0xff), half(mask >> 8)};
  }
  static Reg Select(uint16_t mask, Reg v) {
    return Map(v, Expand(mask), [](__m256 x, __m256 m) { return _mm256_and_ps(x, m); });
  }
  static Reg Blend(uint16_t mask, Reg on, Reg off) {
    const Reg m = Expand(mask);
    return {_mm256_blendv_ps(off.lo, on.lo, m.lo), _mm256_blendv_ps(off.hi, on.hi, m.hi)};
  }
};

}  // namespace
}  // namespace kvasir
