// The vector form of tile_dot.h, written once over a 16-lane vector `V` (vector_avx512.h, ...) that
// also adds up the halves of a register and says its register block: kRows x kTiles. Included by
// one file per ISA, never by anything else.
#pragma once

#include <cstdint>

#include "kvasir/kernels/load_simd.h"
#include "kvasir/kernels/tile_dot.h"

namespace kvasir {
namespace {

template <typename V>
struct TileDotSimd {
  using Reg = typename V::Reg;

  // A tile that is loaded, and widened, serves kR rows.
  template <typename T, int kR, int kT>
  static void Block(const float* rows, int d, const void* const* tiles, float* out, int stride) {
    Reg acc[kR][kT];
    for (int r = 0; r < kR; ++r) {
      for (int i = 0; i < kT; ++i) acc[r][i] = V::Zero();
    }
    const int64_t row_floats = int64_t{d} * 16;
    for (int j = 0; j < d; ++j) {
      Reg k[kT];
      for (int i = 0; i < kT; ++i) k[i] = LoadAs<V>(static_cast<const T*>(tiles[i]) + j * 16);
      for (int r = 0; r < kR; ++r) {
        const Reg q = V::Load(rows + r * row_floats + j * 16);
        for (int i = 0; i < kT; ++i) acc[r][i] = V::Fma(q, k[i], acc[r][i]);
      }
    }
    for (int r = 0; r < kR; ++r) {
      for (int i = 0; i < kT; ++i) V::StoreHalfSums(out + r * stride + 2 * i, acc[r][i]);
    }
  }

  template <typename T, int kT, int kR = V::kRows>
  static void Rows(const float* rows, int n_row, int d, const void* const* tiles, float* out,
                   int stride) {
    if constexpr (kR > 0) {
      int r = 0;
      for (; r + kR <= n_row; r += kR) {
        Block<T, kR, kT>(rows + int64_t{r} * d * 16, d, tiles, out + r * stride, stride);
      }
      if (r < n_row) {
        Rows<T, kT, kR - 1>(rows + int64_t{r} * d * 16, n_row - r, d, tiles, out + r * stride,
                            stride);
      }
    }
  }

  template <typename T>
  static void Dot(const float* rows, int n_row, int d, const void* const* tiles, int n_tile,
                  float* out, int stride) {
    int i = 0;
    for (; i + V::kTiles <= n_tile; i += V::kTiles) {
      Rows<T, V::kTiles>(rows, n_row, d, tiles + i, out + 2 * i, stride);
    }
    for (; i < n_tile; ++i) Rows<T, 1>(rows, n_row, d, tiles + i, out + 2 * i, stride);
  }

  static constexpr TileDotKernels Table() {
    return {.dot_f32 = Dot<float>, .dot_f16 = Dot<uint16_t>};
  }
};

}  // namespace
}  // namespace kvasir
