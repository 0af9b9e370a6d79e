// The vector form of elementwise.h over a 16-lane vector. Rows that are no multiple of 16 end in a
// padded copy. Included by one file per ISA, never by anything else.
#pragma once

#include <cmath>
#include <cstring>

#include "kvasir/kernels/elementwise.h"
#include "kvasir/kernels/exp2_simd.h"

namespace kvasir {
namespace {

template <typename V>
struct ElementwiseSimd {
  using Reg = typename V::Reg;

  static Reg LoadUpTo(const float* p, int n) {
    if (n >= 16) return V::Load(p);
    float padded[16] = {};
    std::memcpy(padded, p, static_cast<size_t>(n) * sizeof(float));
    return V::Load(padded);
  }
  static void StoreUpTo(float* p, int n, Reg v) {
    if (n >= 16) return V::Store(p, v);
    float padded[16];
    V::Store(padded, v);
    std::memcpy(p, padded, static_cast<size_t>(n) * sizeof(float));
  }
  template <typename F>
  static void Map(float* x, const float* y, int n, const F& f) {
    for (int i = 0; i < n; i += 16) {
      StoreUpTo(x + i, n - i, f(LoadUpTo(x + i, n - i), LoadUpTo(y + i, n - i)));
    }
  }

  static void RmsNorm(const float* x, const float* weight, int n, float eps, float* out) {
    Reg sum = V::Zero();
    for (int i = 0; i < n; i += 16) {
      const Reg v = LoadUpTo(x + i, n - i);
      sum = V::Fma(v, v, sum);
    }
    float lanes[16];
    V::Store(lanes, sum);
    for (int width = 8; width > 0; width /= 2) {
      for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
    }
    const Reg scale = V::Set1(1.0f / std::sqrt(lanes[0] / static_cast<float>(n) + eps));
    for (int i = 0; i < n; i += 16) {
      const Reg v = V::Mul(LoadUpTo(x + i, n - i), scale);
      StoreUpTo(out + i, n - i, V::Mul(v, LoadUpTo(weight + i, n - i)));
    }
  }

  static void Add(float* x, const float* y, int n) {
    Map(x, y, n, [](Reg a, Reg b) { return V::Add(a, b); });
  }

  static void SiluMul(float* gate, const float* up, int n) {
    Map(gate, up, n, [](Reg g, Reg u) {
      const Reg x = V::Min(V::Mul(g, V::Set1(-kLog2E)), V::Set1(kMaxExp2));
      const Reg e = Exp2<V>(x, V::Zero());
      return V::Mul(V::Div(g, V::Add(V::Set1(1.0f), e)), u);
    });
  }

  static void GeluMul(float* gate, const float* up, int n) {
    Map(gate, up, n, [](Reg x, Reg u) {
      const Reg square = V::Mul(V::Mul(V::Set1(kGeluCubic), x), x);
      const Reg inner = V::Mul(V::Fma(square, x, x), V::Set1(kGeluScale));
      const Reg gelu = V::Mul(V::Mul(x, V::Set1(0.5f)), V::Add(Tanh<V>(inner), V::Set1(1.0f)));
      return V::Mul(gelu, u);
    });
  }

  static void Softcap(float* x, int n, float cap) {
    const Reg c = V::Set1(cap);
    Map(x, x, n, [&](Reg v, Reg) { return V::Mul(Tanh<V>(V::Div(v, c)), c); });
  }

  static void RopeHalves(float* x, int half, const float* cos_sin) {
    for (int i = 0; i < half; i += 16) {
      const int n = half - i;
      const Reg a = LoadUpTo(x + i, n), b = LoadUpTo(x + half + i, n);
      const Reg c = LoadUpTo(cos_sin + i, n), s = LoadUpTo(cos_sin + half + i, n);
      const Reg minus_bs = V::Sub(V::Set1(-0.0f), V::Mul(b, s));
      StoreUpTo(x + i, n, V::Fma(a, c, minus_bs));
      StoreUpTo(x + half + i, n, V::Fma(b, c, V::Mul(a, s)));
    }
  }

  static constexpr ElementwiseKernels Table() {
    return {
        .rms_norm = RmsNorm,
        .add = Add,
        .silu_mul = SiluMul,
        .gelu_mul = GeluMul,
        .softcap = Softcap,
        .rope_halves = RopeHalves,
    };
  }
};

}  // namespace
}  // namespace kvasir
