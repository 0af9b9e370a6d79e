// The definition: plain loops that read like the formulas of attend.h.
#include <cmath>
#include <cstring>
#include <limits>

#include "kvasir/kernels/attend.h"

namespace kvasir {

extern const AttendKernels kAttendScalar;

namespace {

constexpr float kMinusInf = -std::numeric_limits<float>::infinity();

float ToFloat(float x) { return x; }
float ToFloat(_Float16 x) { return static_cast<float>(x); }

template <typename T>
void Logits(const float* q, int n_row, int d, const void* const* k_tiles, int n_tile, float* x,
            int x_stride) {
  for (int r = 0; r < n_row; ++r) {
    for (int i = 0; i < n_tile; ++i) {
      const T* k = static_cast<const T*>(k_tiles[i]);
      for (int t = 0; t < kTileTokens; ++t) {
        float dot = 0;
        for (int j = 0; j < d; ++j) dot = std::fma(q[r * d + j], ToFloat(k[j * 16 + t]), dot);
        x[r * x_stride + 16 * i + t] = dot;
      }
    }
  }
}

// 2^f for f in [0, 1].
float Exp2Fraction(float f) {
  float p = kExp2C5;
  p = std::fma(p, f, kExp2C4);
  p = std::fma(p, f, kExp2C3);
  p = std::fma(p, f, kExp2C2);
  p = std::fma(p, f, kExp2C1);
  return std::fma(p, f, 1.0f);
}

// value * 2^n for integer-valued n; zero below the normal range.
float Scale(float value, float n) {
  if (n < -126) return 0;
  return std::ldexp(value, static_cast<int>(n));
}

// 2^(x - exponent) for an integer-valued exponent.
float Weight(float x, float exponent) {
  const float n = std::floor(x);
  return Scale(Exp2Fraction(x - n), n - exponent);
}

// tanh through 2^y, so that every variant can follow it step by step.
float Tanh(float y) {
  const float magnitude = std::fmin(std::fabs(y), 10.0f);
  const float e = Weight(magnitude * (2 * kLog2E), 0);
  return std::copysign(1.0f - 2.0f / (e + 1.0f), y);
}

bool Visible(const uint16_t* visible, int token) {
  return visible == nullptr || (visible[token / 16] >> (token % 16) & 1);
}

float Logit(float x, const float* bias, int token, float softcap) {
  if (softcap > 0) x = Tanh(x / softcap) * (softcap * kLog2E);
  return bias == nullptr ? x : x + bias[token];
}

void SoftmaxRow(float* x, int n_tile, const uint16_t* visible, const float* bias, float softcap,
                int lane, float* exponent, float* sum, float* acc, int d_pad) {
  float max = kMinusInf;
  for (int t = 0; t < n_tile * 16; ++t) {
    x[t] = Logit(x[t], bias, t, softcap);
    if (Visible(visible, t)) max = std::fmax(max, x[t]);
  }
  const float needed = std::ceil(max) - kExponentHeadroom;
  if (needed > *exponent) {
    const float shift = *exponent - needed;
    for (int i = 0; i < 16; ++i) sum[i] = Scale(sum[i], shift);
    for (int i = 0; i < d_pad; ++i) acc[i] = Scale(acc[i], shift);
    *exponent = needed;
  }
  for (int t = 0; t < n_tile * 16; ++t) {
    x[t] = Visible(visible, t) ? Weight(x[t], *exponent) : 0.0f;
    sum[(t + lane) % 16] += x[t];
  }
}

void WeightsRow(float* x, int n_tile, const uint16_t* visible, const float* bias, float softcap,
                float exponent, float inv_sum) {
  for (int t = 0; t < n_tile * 16; ++t) {
    const float logit = Logit(x[t], bias, t, softcap);
    x[t] = Visible(visible, t) ? Weight(logit, exponent) * inv_sum : 0.0f;
  }
}

template <typename T>
void Values(const float* p, int p_stride, int n_row, const void* const* v_tiles, int n_tile,
            int d_pad, float* acc) {
  for (int r = 0; r < n_row; ++r) {
    for (int t = 0; t < n_tile * 16; ++t) {
      const T* v = static_cast<const T*>(v_tiles[t / 16]) + (t % 16) * d_pad;
      for (int c = 0; c < d_pad; ++c) {
        acc[r * d_pad + c] = std::fma(p[r * p_stride + t], ToFloat(v[c]), acc[r * d_pad + c]);
      }
    }
  }
}

void PackF16(const float* src, uint16_t* dst, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const _Float16 half = static_cast<_Float16>(src[i]);
    std::memcpy(&dst[i], &half, sizeof(half));
  }
}

void UnpackF16(const uint16_t* src, float* dst, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    _Float16 half;
    std::memcpy(&half, &src[i], sizeof(half));
    dst[i] = static_cast<float>(half);
  }
}

}  // namespace

const AttendKernels kAttendScalar = {
    .logits_f32 = Logits<float>,
    .logits_f16 = Logits<_Float16>,
    .softmax_row = SoftmaxRow,
    .weights_row = WeightsRow,
    .values_f32 = Values<float>,
    .values_f16 = Values<_Float16>,
    .pack_f16 = PackF16,
    .unpack_f16 = UnpackF16,
};

}  // namespace kvasir
