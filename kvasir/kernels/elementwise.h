// Norms, gates and sums over rows of f32. Every variant gives the same bits.
#pragma once

#include <cstdint>

#include "kvasir/core/isa.h"

namespace kvasir {

struct ElementwiseKernels {
  // out = x / sqrt(mean(x^2) + eps) * weight; the squares are summed in 16 lanes, then by halves.
  void (*rms_norm)(const float* x, const float* weight, int n, float eps, float* out);
  void (*add)(float* x, const float* y, int n);           // x += y
  void (*silu_mul)(float* gate, const float* up, int n);  // gate = gate / (1 + e^-gate) * up
  // gate = gate / 2 * (1 + tanh(sqrt(2/pi) * (gate + 0.044715 gate^3))) * up
  void (*gelu_mul)(float* gate, const float* up, int n);
  void (*softcap)(float* x, int n, float cap);  // x = cap * tanh(x / cap)
  // Rotates pairs (x[i], x[i + half]): NEOX pairing.
  //   cos_sin  (2, half)
  void (*rope_halves)(float* x, int half, const float* cos_sin);
};

const ElementwiseKernels& GetElementwiseKernels(Isa isa);
const ElementwiseKernels& ActiveElementwiseKernels();

inline constexpr float kGeluScale = 0.7978845608028654f;  // sqrt(2 / pi)
inline constexpr float kGeluCubic = 0.044715f;
// e^-x beyond 2^126 is as good as infinite, and stays a number in every variant.
inline constexpr float kMaxExp2 = 126.0f;

}  // namespace kvasir
