// Sixteen float lanes for kernels written once over a vector type (attend_simd.h,
// elementwise_simd.h). Included only by *_avx512.cc files.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace kvasir {
namespace {

struct Vector512 {
  using Reg = __m512;
  static Reg Load(const float* p) { return _mm512_loadu_ps(p); }
  static Reg LoadHalf(const uint16_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static void Store(float* p, Reg v) { _mm512_storeu_ps(p, v); }
  static void StoreHalf(uint16_t* p, Reg v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                        _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
  static Reg Set1(float x) { return _mm512_set1_ps(x); }
  static Reg Zero() { return _mm512_setzero_ps(); }
  static Reg Fma(Reg a, Reg b, Reg c) { return _mm512_fmadd_ps(a, b, c); }
  static Reg Add(Reg a, Reg b) { return _mm512_add_ps(a, b); }
  static Reg Sub(Reg a, Reg b) { return _mm512_sub_ps(a, b); }
  static Reg Mul(Reg a, Reg b) { return _mm512_mul_ps(a, b); }
  static Reg Div(Reg a, Reg b) { return _mm512_div_ps(a, b); }
  static Reg Max(Reg a, Reg b) { return _mm512_max_ps(a, b); }
  static Reg Min(Reg a, Reg b) { return _mm512_min_ps(a, b); }
  static Reg Floor(Reg a) {
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
  }
  static Reg Abs(Reg a) { return _mm512_abs_ps(a); }
  static Reg CopySign(Reg magnitude, Reg sign) {
    return _mm512_castsi512_ps(_mm512_ternarylogic_epi32(_mm512_set1_epi32(INT32_MIN),
                                                         _mm512_castps_si512(sign),
                                                         _mm512_castps_si512(magnitude), 0xca));
  }
  static float ReduceMax(Reg a) { return _mm512_reduce_max_ps(a); }
  // Lane i with i + 8, then i + 4, i + 2, i + 1.
  static float ReduceAdd(Reg a) {
    const __m256 h = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
  }
  static Reg Scale(Reg value, Reg n) {
    const __mmask16 normal = _mm512_cmp_ps_mask(n, _mm512_set1_ps(-126), _CMP_GE_OQ);
    return _mm512_maskz_scalef_ps(normal, value, n);
  }
  static Reg Select(uint16_t mask, Reg v) { return _mm512_maskz_mov_ps(mask, v); }
  static Reg Blend(uint16_t mask, Reg on, Reg off) { return _mm512_mask_blend_ps(mask, off, on); }
};

}  // namespace
}  // namespace kvasir
