// hadamard.h over a vector type V of 16 floats. Included only by hadamard_avx2.cc and
// hadamard_avx512.cc.
#pragma once

#include <array>
#include <cmath>

#include "kvasir/kernels/hadamard.h"

namespace kvasir {
namespace {

template <typename V>
struct HadamardSimd {
  using Reg = typename V::Reg;

  static void Butterfly(float* a, float* b) {
    const Reg x = V::Load(a), y = V::Load(b);
    V::Store(a, V::Add(x, y));
    V::Store(b, V::Sub(x, y));
  }

  // Two rounds at once: a, b, c, d are one reach apart.
  static void Butterfly4(float* a, float* b, float* c, float* d) {
    const Reg x = V::Load(a), y = V::Load(b), z = V::Load(c), w = V::Load(d);
    const Reg p = V::Add(x, y), q = V::Sub(x, y), r = V::Add(z, w), s = V::Sub(z, w);
    V::Store(a, V::Add(p, r));
    V::Store(b, V::Add(q, s));
    V::Store(c, V::Sub(p, r));
    V::Store(d, V::Sub(q, s));
  }

  // Elements are whole vectors.
  static void Vectors(float* x, int n, int block) {
    int reach = 1;
    for (; reach * 2 < block; reach *= 4) {
      for (int base = 0; base < n; base += 4 * reach) {
        for (int i = base; i < base + reach; ++i) {
          Butterfly4(x + 16 * i, x + 16 * (i + reach), x + 16 * (i + 2 * reach),
                     x + 16 * (i + 3 * reach));
        }
      }
    }
    if (reach >= block) return;
    for (int base = 0; base < n; base += 2 * reach) {
      for (int i = base; i < base + reach; ++i) Butterfly(x + 16 * i, x + 16 * (i + reach));
    }
  }

  static void Scale(float* x, int n, int block) {
    const float scale = 1.0f / std::sqrt(static_cast<float>(block));
    const Reg s = V::Set1(scale);
    int i = 0;
    for (; i + 16 <= n; i += 16) V::Store(x + i, V::Mul(V::Load(x + i), s));
    for (; i < n; ++i) x[i] *= scale;
  }

  // One round within vectors: a lane adds its partner, or is taken from it where its index has the
  // reach's bit. The product is exact, so the sum is rounded as a butterfly's.
  template <int kReach>
  static Reg Round(Reg v) {
    alignas(64) static constexpr auto kSigns = [] {
      std::array<float, 16> signs{};
      for (int i = 0; i < 16; ++i) signs[i] = (i & kReach) != 0 ? -1.0f : 1.0f;
      return signs;
    }();
    return V::Fma(v, V::Load(kSigns.data()), V::template Exchange<kReach>(v));
  }

  static void RowWithin(float* x, int n, int block) {
    for (int i = 0; i < n; i += 16) {
      Reg v = V::Load(x + i);
      if (block > 1) v = Round<1>(v);
      if (block > 2) v = Round<2>(v);
      if (block > 4) v = Round<4>(v);
      if (block > 8) v = Round<8>(v);
      V::Store(x + i, v);
    }
  }

  // Heads that are not whole vectors.
  static void RowOdd(float* x, int n, int block) {
    for (int reach = 1; reach < block; reach *= 2) {
      for (int i = 0; i < n; ++i) {
        if ((i & reach) != 0) continue;
        const float a = x[i], b = x[i + reach];
        x[i] = a + b;
        x[i + reach] = a - b;
      }
    }
  }

  static void Row(float* x, int n, int block) {
    if (n % 16 != 0) {
      RowOdd(x, n, block);
    } else {
      RowWithin(x, n, block);
      if (block > 16) Vectors(x, n / 16, block / 16);
    }
    Scale(x, n, block);
  }

  static void Lanes(float* x, int n, int block) {
    Vectors(x, n, block);
    Scale(x, n * 16, block);
  }

  static constexpr HadamardKernels Table() { return {.row = Row, .lanes = Lanes}; }
};

}  // namespace
}  // namespace kvasir
