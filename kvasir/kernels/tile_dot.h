// Dot products of whole tiles: what the anti-diagonals of Q K^T add up to.
//
// A key tile is (head_dim, 16), channel-major. Where a row holds the queries of 16 tokens in the
// same layout, newest first, its product with a tile is the sum of q.k along one anti-diagonal of
// their 16 x 16 logits, at 1/16 of the cost of all of them; the halves of 8 tokens are kept apart
// for anti-diagonals of 8.
//
// Every variant gives the same bits: a lane is one fma chain over the channels in ascending order,
// and the 8 lanes of a half are added t with t + 4, then t + 2, then t + 1.
#pragma once

#include "kvasir/core/isa.h"

namespace kvasir {

struct TileDotKernels {
  // out[r * stride + 2 * i + h] = sum over channels j and slots t in [8 h, 8 h + 8) of
  //                               rows[(r * d + j) * 16 + t] * tiles[i][j * 16 + t]
  //   rows   (n_row, d, 16) f32
  //   tiles  (n_tile) key tiles of kernels/attend.h
  void (*dot_f32)(const float* rows, int n_row, int d, const void* const* tiles, int n_tile,
                  float* out, int stride);
  void (*dot_f16)(const float* rows, int n_row, int d, const void* const* tiles, int n_tile,
                  float* out, int stride);
};

const TileDotKernels& GetTileDotKernels(Isa isa);
const TileDotKernels& ActiveTileDotKernels();

}  // namespace kvasir
