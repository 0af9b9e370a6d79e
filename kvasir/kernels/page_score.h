// Integer scores of pages from int8 bounds of their keys. Every variant gives the same numbers.
//
// With a query split into q+ = max(q, 0) and q- = max(-q, 0), the largest dot product that a page
// can hold is q+ . kmax - q- . kmin: two products of unsigned by signed bytes.
#pragma once

#include <cstdint>

#include "kvasir/core/isa.h"

namespace kvasir {

inline constexpr int kScorePages = 16;  // pages of a tile
// Four channels, a quad, lie together: what one multiply-add instruction takes.
constexpr int ScoreQuads(int head_dim) { return (head_dim + 3) / 4; }
// A tile is (n_quad, 2, 16, 4) int8: by quad, kmax of 16 pages, then kmin.
constexpr int64_t ScoreTileBytes(int n_quad) { return int64_t{n_quad} * 2 * kScorePages * 4; }
constexpr int64_t ScoreQueryBytes(int n_quad) { return int64_t{n_quad} * 2 * 4; }

struct PageScoreKernels {
  // out[r * stride + 16 * i + p] = sum_c q+[r][c] * kmax[i][p][c] - q-[r][c] * kmin[i][p][c]
  //   q  (n_row, n_quad, 2, 4) u8: by quad, q+ then q-
  // n_quad <= 4096, so that no sum overflows.
  void (*score)(const uint8_t* q, int n_row, int n_quad, const int8_t* const* tiles, int n_tile,
                int32_t* out, int stride);
};

const PageScoreKernels& GetPageScoreKernels(Isa isa);
const PageScoreKernels& ActivePageScoreKernels();

}  // namespace kvasir
