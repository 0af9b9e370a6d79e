// The definition: plain loops that read like the formulas of attend.h.
#include <cmath>
#include <limits>

#include "kvasir/kernels/attend.h"
#include "kvasir/kernels/exp2_scalar.h"
#include "kvasir/kernels/half.h"

namespace kvasir {

extern const AttendKernels kAttendScalar;

namespace {

constexpr float kMinusInf = -std::numeric_limits<float>::infinity();

float ToFloat(float x) { return x; }
float ToFloat(uint16_t half) { return HalfToFloat(half); }

template <typename T>
void Logits(const float* q, int n_row, int d, const void* const* k_tiles, int n_tile,
            const void* const*, float* x, int x_stride) {
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

bool Visible(const uint16_t* visible, int token) {
  return visible == nullptr || (visible[token / 16] >> (token % 16) & 1);
}

void ShapeRow(float* x, int n_tile, const float* bias, float softcap) {
  for (int t = 0; t < n_tile * 16; ++t) {
    if (softcap > 0) x[t] = Tanh(x[t] / softcap) * (softcap * kLog2E);
    if (bias != nullptr) x[t] += bias[t];
  }
}

float MaxRow(const float* x, int n_tile, const uint16_t* visible) {
  float max = kMinusInf;
  for (int t = 0; t < n_tile * 16; ++t) {
    if (Visible(visible, t)) max = std::fmax(max, x[t]);
  }
  return max;
}

void WeighRow(float* x, int n_tile, const uint16_t* visible, int lane, float exponent, float* sum) {
  for (int t = 0; t < n_tile * 16; ++t) {
    x[t] = Visible(visible, t) ? Exp2(x[t], exponent) : 0.0f;
    sum[(t + lane) % 16] += x[t];
  }
}

void NormaliseRow(float* x, int n_tile, const uint16_t* visible, float exponent, float inv_sum) {
  for (int t = 0; t < n_tile * 16; ++t) {
    x[t] = Visible(visible, t) ? Exp2(x[t], exponent) * inv_sum : 0.0f;
  }
}

void ScaleAll(float* values, int n, float shift) {
  for (int i = 0; i < n; ++i) values[i] = ScaleByPower(values[i], shift);
}

template <typename T>
void Values(const float* p, int p_stride, int n_row, const void* const* v_tiles, int n_tile,
            const void* const*, int d_pad, float* acc) {
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
  for (int64_t i = 0; i < n; ++i) dst[i] = FloatToHalf(src[i]);
}

void UnpackF16(const uint16_t* src, float* dst, int64_t n) {
  for (int64_t i = 0; i < n; ++i) dst[i] = HalfToFloat(src[i]);
}

}  // namespace

const AttendKernels kAttendScalar = {
    .logits_f32 = Logits<float>,
    .logits_f16 = Logits<uint16_t>,
    .shape_row = ShapeRow,
    .max_row = MaxRow,
    .weigh_row = WeighRow,
    .normalise_row = NormaliseRow,
    .scale = ScaleAll,
    .values_f32 = Values<float>,
    .values_f16 = Values<uint16_t>,
    .pack_f16 = PackF16,
    .unpack_f16 = UnpackF16,
};

}  // namespace kvasir
