#include <cmath>

#include "kvasir/kernels/elementwise.h"
#include "kvasir/kernels/exp2_scalar.h"

namespace kvasir {

extern const ElementwiseKernels kElementwiseScalar;

namespace {

void RmsNorm(const float* x, const float* weight, int n, float eps, float* out) {
  float lanes[16] = {};
  for (int i = 0; i < n; ++i) lanes[i % 16] = std::fma(x[i], x[i], lanes[i % 16]);
  for (int width = 8; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  }
  const float scale = 1.0f / std::sqrt(lanes[0] / static_cast<float>(n) + eps);
  for (int i = 0; i < n; ++i) out[i] = x[i] * scale * weight[i];
}

void Add(float* x, const float* y, int n) {
  for (int i = 0; i < n; ++i) x[i] += y[i];
}

void SiluMul(float* gate, const float* up, int n) {
  for (int i = 0; i < n; ++i) {
    const float e = Exp2(std::fmin(gate[i] * -kLog2E, kMaxExp2), 0);
    gate[i] = gate[i] / (1.0f + e) * up[i];
  }
}

void GeluMul(float* gate, const float* up, int n) {
  for (int i = 0; i < n; ++i) {
    const float x = gate[i];
    const float inner = std::fma(kGeluCubic * x * x, x, x) * kGeluScale;
    gate[i] = x * 0.5f * (Tanh(inner) + 1.0f) * up[i];
  }
}

void Softcap(float* x, int n, float cap) {
  for (int i = 0; i < n; ++i) x[i] = Tanh(x[i] / cap) * cap;
}

void RopeHalves(float* x, int half, const float* cos_sin) {
  for (int i = 0; i < half; ++i) {
    const float a = x[i], b = x[i + half], c = cos_sin[i], s = cos_sin[half + i];
    x[i] = std::fma(a, c, -(b * s));
    x[i + half] = std::fma(b, c, a * s);
  }
}

}  // namespace

const ElementwiseKernels kElementwiseScalar = {
    .rms_norm = RmsNorm,
    .add = Add,
    .silu_mul = SiluMul,
    .gelu_mul = GeluMul,
    .softcap = Softcap,
    .rope_halves = RopeHalves,
};

}  // namespace kvasir
