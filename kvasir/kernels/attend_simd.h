// The vector form of attend.h, written once over a 16-lane vector `V` (vector_avx512.h, ...) that
// also says its register blocks: kLogitRows x kLogitTiles, kValueRows x kValueVectors.
// Included by one file per ISA, never by anything else.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kvasir/core/prefetch.h"
#include "kvasir/kernels/attend.h"
#include "kvasir/kernels/exp2_simd.h"
#include "kvasir/kernels/load_simd.h"

namespace kvasir {
namespace {

template <typename V>
struct AttendSimd {
  using Reg = typename V::Reg;

  // kR rows of q against kT tiles. Lines of `ahead` are asked for a few at a time between products:
  // a burst would hold up the loads.
  template <typename T, int kR, int kT, bool kFetch>
  static void LogitBlock(const float* q, int d, const void* const* k_tiles,
                         const void* const* ahead, float* x, int x_stride) {
    Reg acc[kR][kT];
    for (int r = 0; r < kR; ++r) {
      for (int i = 0; i < kT; ++i) acc[r][i] = V::Zero();
    }
    // Where two channels share a line, even ones fetch for even tiles and odd ones for odd tiles.
    constexpr int kShare = std::min<int>(4 / sizeof(T), kT);
    for (int j = 0; j < d; ++j) {
      if constexpr (kFetch) {
        for (int i = 0; i < kT; i += kShare) {
          PrefetchLine(static_cast<const T*>(ahead[i + j % kShare]) + j * 16);
        }
      }
      Reg k[kT];
      for (int i = 0; i < kT; ++i) k[i] = LoadAs<V>(static_cast<const T*>(k_tiles[i]) + j * 16);
      for (int r = 0; r < kR; ++r) {
        const Reg qj = V::Set1(q[r * d + j]);
        for (int i = 0; i < kT; ++i) acc[r][i] = V::Fma(qj, k[i], acc[r][i]);
      }
    }
    for (int r = 0; r < kR; ++r) {
      for (int i = 0; i < kT; ++i) V::Store(x + r * x_stride + 16 * i, acc[r][i]);
    }
  }

  template <typename T, int kT, int kR = V::kLogitRows>
  static void LogitRows(const float* q, int n_row, int d, const void* const* k_tiles,
                        const void* const* ahead, float* x, int x_stride) {
    if constexpr (kR > 0) {
      int r = 0;
      if (ahead != nullptr && n_row >= kR) {
        LogitBlock<T, kR, kT, true>(q, d, k_tiles, ahead, x, x_stride);
        ahead = nullptr;
        r = kR;
      }
      for (; r + kR <= n_row; r += kR) {
        LogitBlock<T, kR, kT, false>(q + r * d, d, k_tiles, ahead, x + r * x_stride, x_stride);
      }
      if (r < n_row) {
        LogitRows<T, kT, kR - 1>(q + r * d, n_row - r, d, k_tiles, ahead, x + r * x_stride,
                                 x_stride);
      }
    }
  }

  template <typename T>
  static void Logits(const float* q, int n_row, int d, const void* const* k_tiles, int n_tile,
                     const void* const* ahead, float* x, int x_stride) {
    const auto from = [&](int i) { return ahead == nullptr ? nullptr : ahead + i; };
    int i = 0;
    for (; i + V::kLogitTiles <= n_tile; i += V::kLogitTiles) {
      LogitRows<T, V::kLogitTiles>(q, n_row, d, k_tiles + i, from(i), x + 16 * i, x_stride);
    }
    for (; i < n_tile; ++i) {
      LogitRows<T, 1>(q, n_row, d, k_tiles + i, from(i), x + 16 * i, x_stride);
    }
  }

  static Reg Weight(Reg x, Reg exponent) { return Exp2<V>(x, exponent); }

  static uint16_t Mask(const uint16_t* visible, int i) {
    return visible == nullptr ? 0xffff : visible[i];
  }

  static void ShapeRow(float* x, int n_tile, const float* bias, float softcap) {
    for (int i = 0; i < n_tile * 16; i += 16) {
      Reg v = V::Load(x + i);
      if (softcap > 0) v = V::Mul(Tanh<V>(V::Div(v, V::Set1(softcap))), V::Set1(softcap * kLog2E));
      if (bias != nullptr) v = V::Add(v, V::Load(bias + i));
      V::Store(x + i, v);
    }
  }

  static float MaxRow(const float* x, int n_tile, const uint16_t* visible) {
    const Reg minus_inf = V::Set1(-std::numeric_limits<float>::infinity());
    Reg max = minus_inf;
    for (int i = 0; i < n_tile; ++i) {
      max = V::Max(max, V::Blend(Mask(visible, i), V::Load(x + 16 * i), minus_inf));
    }
    return V::ReduceMax(max);
  }

  static void WeighRow(float* x, int n_tile, const uint16_t* visible, int lane, float exponent,
                       float* sum) {
    const Reg e = V::Set1(exponent);
    Reg total = V::Load(sum);
    for (int i = 0; i < n_tile; ++i) {
      const Reg p = V::Select(Mask(visible, i), Weight(V::Load(x + 16 * i), e));
      V::Store(x + 16 * i, p);
      if (lane == 0) {
        total = V::Add(total, p);
      } else {
        for (int t = 0; t < 16; ++t) sum[(t + lane) % 16] += x[16 * i + t];
      }
    }
    if (lane == 0) V::Store(sum, total);
  }

  static void NormaliseRow(float* x, int n_tile, const uint16_t* visible, float exponent,
                           float inv_sum) {
    const Reg e = V::Set1(exponent);
    const Reg scale = V::Set1(inv_sum);
    for (int i = 0; i < n_tile; ++i) {
      const Reg p = V::Mul(Weight(V::Load(x + 16 * i), e), scale);
      V::Store(x + 16 * i, V::Select(Mask(visible, i), p));
    }
  }

  static void ScaleAll(float* values, int n, float shift) {
    const Reg s = V::Set1(shift);
    for (int i = 0; i < n; i += 16) V::Store(values + i, V::Scale(V::Load(values + i), s));
  }

  // kR rows, kV vectors of channels, all tokens.
  template <typename T, int kR, int kV, bool kFetch>
  static void ValueBlock(const float* p, int p_stride, const void* const* v_tiles, int n_tile,
                         const void* const* ahead, int d_pad, int column, float* acc) {
    Reg out[kR][kV];
    for (int r = 0; r < kR; ++r) {
      for (int c = 0; c < kV; ++c) out[r][c] = V::Load(acc + r * d_pad + column + 16 * c);
    }
    for (int i = 0; i < n_tile; ++i) {
      const T* v = static_cast<const T*>(v_tiles[i]) + column;
      for (int t = 0; t < 16; ++t) {
        Reg row[kV];
        for (int c = 0; c < kV; ++c) row[c] = LoadAs<V>(v + t * d_pad + 16 * c);
        if constexpr (kFetch) {
          const T* next = static_cast<const T*>(ahead[i]) + column + t * d_pad;
          for (int c = 0; c < kV; c += 4 / sizeof(T)) PrefetchLine(next + 16 * c);
        }
        for (int r = 0; r < kR; ++r) {
          const Reg weight = V::Set1(p[r * p_stride + 16 * i + t]);
          for (int c = 0; c < kV; ++c) out[r][c] = V::Fma(weight, row[c], out[r][c]);
        }
      }
    }
    for (int r = 0; r < kR; ++r) {
      for (int c = 0; c < kV; ++c) V::Store(acc + r * d_pad + column + 16 * c, out[r][c]);
    }
  }

  template <typename T, int kV, int kR = V::kValueRows>
  static void ValueRows(const float* p, int p_stride, int n_row, const void* const* v_tiles,
                        int n_tile, const void* const* ahead, int d_pad, int column, float* acc) {
    if constexpr (kR > 0) {
      int r = 0;
      if (ahead != nullptr && n_row >= kR) {
        ValueBlock<T, kR, kV, true>(p, p_stride, v_tiles, n_tile, ahead, d_pad, column, acc);
        ahead = nullptr;
        r = kR;
      }
      for (; r + kR <= n_row; r += kR) {
        ValueBlock<T, kR, kV, false>(p + r * p_stride, p_stride, v_tiles, n_tile, ahead, d_pad,
                                     column, acc + r * d_pad);
      }
      if (r < n_row) {
        ValueRows<T, kV, kR - 1>(p + r * p_stride, p_stride, n_row - r, v_tiles, n_tile, ahead,
                                 d_pad, column, acc + r * d_pad);
      }
    }
  }

  template <typename T>
  static void Values(const float* p, int p_stride, int n_row, const void* const* v_tiles,
                     int n_tile, const void* const* ahead, int d_pad, float* acc) {
    int column = 0;
    for (; column + 16 * V::kValueVectors <= d_pad; column += 16 * V::kValueVectors) {
      ValueRows<T, V::kValueVectors>(p, p_stride, n_row, v_tiles, n_tile, ahead, d_pad, column,
                                     acc);
    }
    for (; column < d_pad; column += 16) {
      ValueRows<T, 1>(p, p_stride, n_row, v_tiles, n_tile, ahead, d_pad, column, acc);
    }
  }

  static void PackF16(const float* src, uint16_t* dst, int64_t n) {
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) V::StoreHalf(dst + i, V::Load(src + i));
    if (i < n) {
      float in[16] = {};
      uint16_t out[16];
      std::memcpy(in, src + i, static_cast<size_t>(n - i) * 4);
      V::StoreHalf(out, V::Load(in));
      std::memcpy(dst + i, out, static_cast<size_t>(n - i) * 2);
    }
  }

  static void UnpackF16(const uint16_t* src, float* dst, int64_t n) {
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) V::Store(dst + i, V::LoadHalf(src + i));
    if (i < n) {
      uint16_t in[16] = {};
      float out[16];
      std::memcpy(in, src + i, static_cast<size_t>(n - i) * 2);
      V::Store(out, V::LoadHalf(in));
      std::memcpy(dst + i, out, static_cast<size_t>(n - i) * 4);
    }
  }

  static constexpr AttendKernels Table() {
    return {
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
  }
};

}  // namespace
}  // namespace kvasir
