// The variants of the matrix product, one per instruction set. Internal to kernels/.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kvasir/kernels/activations.h"
#include "kvasir/kernels/tensor.h"

namespace kvasir {

struct MatMulCall {
  Tensor w;
  const std::byte* prepared;
  int64_t n_token;
  float* y;
  int64_t y_stride;

  size_t token_bytes() const { return TokenBytes(PreparationOf(w.type), w.cols); }
  // Tokens in the tile that starts at token t0.
  int TileTokens(int64_t t0) const {
    return static_cast<int>(n_token - t0 < kTokenTile ? n_token - t0 : kTokenTile);
  }
  const std::byte* Tile(int64_t t0) const {
    return prepared + static_cast<size_t>(t0) * token_bytes();
  }
};

struct MatMulKernels {
  // Output rows [row_begin, row_end) for tokens [token_begin, token_end); token_begin is a multiple
  // of kTokenTile, token_end too unless it is n_token.
  void (*rows)(const MatMulCall& call, int64_t row_begin, int64_t row_end, int64_t token_begin,
               int64_t token_end);
  void (*prepare_tile)(Preparation preparation, const float* x, int64_t x_stride, int nt,
                       int64_t cols, std::byte* tile);
};

extern const MatMulKernels kMatMulScalar;
extern const MatMulKernels kMatMulAvx2;
extern const MatMulKernels kMatMulAvx512;

}  // namespace kvasir
