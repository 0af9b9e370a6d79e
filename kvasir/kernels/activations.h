// Prepared activations: what PrepareActivations writes and the matrix products read.
//
// Tokens are grouped in tiles of kTokenTile; the last tile is narrower. A tile of nt tokens is a
// sequence of records along k, so that a product streams through one tile from front to back:
//   floats        one record a column:  f32 x[nt]
//   Q8, 32 a block    q[nt][32] int8, d[nt] f32, s[nt] f32 = d * sum(q), negative_sum[nt] int32
//   Q8, 256 a block   q[nt][256] int8, sum16[nt][16] int16 and sum32[nt][8] int16 = sums of q over
//                     runs of 16 and 32, d[nt] f32
// What is left of TokenBytes is padding. All fields are 4-byte aligned.
//
// Rounding: d = max|x| / 127, q = x * (127 / max|x|) to nearest even. A block whose max|x| is below
// 2^-100 is zero; a block that holds a value that is not finite has d = NaN, so that every product
// with it is NaN.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kvasir/kernels/tensor_type.h"

namespace kvasir {

enum class Preparation { kFloat, kQ8x32, kQ8x256 };

inline constexpr int kTokenTile = 8;

inline constexpr size_t kRecord32 = 32 + 4 + 4 + 4;
inline constexpr size_t kRecord256 = 256 + 2 * 16 + 2 * 8 + 4;

Preparation PreparationOf(TensorType weights);

// Bytes of one token; a tile of nt tokens takes nt times as much.
size_t TokenBytes(Preparation preparation, int64_t cols);

// Byte offsets of a record's fields in a tile of `nt` tokens.
struct Record32 {
  int nt;
  size_t Q(int t) const { return 32 * static_cast<size_t>(t); }
  size_t D(int t) const { return 32 * static_cast<size_t>(nt) + 4 * static_cast<size_t>(t); }
  size_t S(int t) const { return 36 * static_cast<size_t>(nt) + 4 * static_cast<size_t>(t); }
  size_t NegativeSum(int t) const {
    return 40 * static_cast<size_t>(nt) + 4 * static_cast<size_t>(t);
  }
  size_t bytes() const { return kRecord32 * static_cast<size_t>(nt); }
};
struct Record256 {
  int nt;
  size_t Q(int t) const { return 256 * static_cast<size_t>(t); }
  size_t Sum16(int t) const { return 256 * static_cast<size_t>(nt) + 32 * static_cast<size_t>(t); }
  size_t Sum32(int t) const { return 288 * static_cast<size_t>(nt) + 16 * static_cast<size_t>(t); }
  size_t D(int t) const { return 304 * static_cast<size_t>(nt) + 4 * static_cast<size_t>(t); }
  size_t bytes() const { return kRecord256 * static_cast<size_t>(nt); }
};

}  // namespace kvasir
