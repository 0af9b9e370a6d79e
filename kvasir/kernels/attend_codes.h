// Attention on the codes of encoded tiles: keys and values whose tokens have a scale, and maybe an
// offset, of their own for every run of channels are never rebuilt.
//
//   keys    a query is rounded to 15-bit integers per run of channels, products with codes are
//           summed exactly in integers, and a logit is one chain over the runs, ascending:
//               x = fma(s_t, unit * int(sum_j n_j * (code_tj - zero)), x)
//               x = fma(o_t, unit * int(sum_j n_j), x)            where offsets are stored
//           (unit * int(...) is rounded once).
//   values  the products p_t * s_t of a tile are rounded to 16-bit integers
//           per run of channels, and a channel is one chain over the tiles,
//           ascending:
//               acc = fma(unit, int(sum_t n_t * (code_tc - middle)), acc)
//               acc = acc + sum_t p_t * fma(s_t, middle, o_t)     where offsets are stored
//           the last sum in a tree: token t with t + 8, then t + 4, t + 2, t + 1. What rounding
//           costs grows with the distance of codes from the middle: zero, or 2^(bits - 1) beside
//           offsets.
//
// Every variant gives the same bits, and a row's result does not depend on the rows beside it nor
// on how tiles come together in calls. Folding scales out of the products:
// KIVI, arXiv:2402.02750.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "kvasir/kernels/attend.h"
#include "kvasir/kernels/kv_unpack.h"

namespace kvasir {

// What the tiles of a part have in common. A channel's value is (code - zero) * scale + offset.
struct CodeFormat {
  int bits = 8;             // 4 or 8; strips as kv_unpack.h lays them out
  int group = 32;           // channels that share a scale, a multiple of 16; the last may have less
  int zero = 0;             // 0 where offsets are stored
  bool has_offset = false;  // else offsets are 0
  bool is_positive = false;  // no scale is below 0, and the middle is 2^(bits - 1)

  int n_group(int d) const { return (d + group - 1) / group; }
  int middle() const { return has_offset ? 1 << (bits - 1) : zero; }
};

// One whole tile of 16 tokens; d is a multiple of 16.
//   keys    strips (d), of 16 tokens each
//   values  strips (d / 16, 16), of 16 channels each
struct CodeTile {
  const uint8_t* codes;
  const uint16_t* scale;   // (n_group, 16) f16
  const uint16_t* offset;  // likewise, where stored
};

// q[j] of a row is n[j] * unit, and the sum of a group's integers its n_sum. Variants keep the
// integers each in their own way, of the rows of one call together.
//   unit = max|q| / 16256, n = q * (16256 / max|q|) to nearest even; n = 0 where max|q| is below
//   2^-100, and unit not a number where a value is not finite
struct RoundedQueries {
  std::byte* levels = nullptr;  // 2 * n_row * d, the integers
  float* unit = nullptr;        // (n_row, n_group)
  int32_t* n_sum = nullptr;     // (n_row, n_group)
};

struct AttendCodeKernels {
  // Fills `rounded` from q (n_row, d).
  void (*round_queries)(const CodeFormat& format, const float* q, int n_row, int d,
                        const RoundedQueries& rounded);
  // x[r * x_stride + 16 * i + t] = the logit of token t of tile i.
  //   ahead  (n_ahead <= kMaxFetch * n_tile) what is read after this, of the same d; it is brought
  //          nearer while `tiles` are worked on, as far as it would reach in their format
  void (*logits)(const CodeFormat& format, const RoundedQueries& q, int n_row, int d,
                 const CodeTile* tiles, int n_tile, const CodeTile* ahead, int n_ahead, float* x,
                 int x_stride);
  // acc[r * d + c] gathers the weights p[r * p_stride + t] of the tokens of all tiles.
  void (*values)(const CodeFormat& format, const float* p, int p_stride, int n_row, int d,
                 const CodeTile* tiles, int n_tile, const CodeTile* ahead, int n_ahead, float* acc);
};
inline constexpr int kMaxFetch = 4;  // tiles asked for during one

const AttendCodeKernels& GetAttendCodeKernels(Isa isa);
const AttendCodeKernels& ActiveAttendCodeKernels();

inline constexpr float kQueryLevels = 16256;  // 127 * 128
// Of a head of 512 channels; kernels take no more.
inline constexpr int kMaxCodeGroups = 32;

// How the weights of one tile and group, of which `bits` is the largest magnitude, become integers:
// n = (p * s) * inverse to nearest even, worth `unit` each. Weights all below kLeastWeight give 0;
// where one is not finite, unit is not a number.
struct WeightGrid {
  float inverse, unit;
};
inline constexpr float kWeightLevels = 32512;  // 127 * 256: two signed digits of eight bits
inline constexpr float kLeastWeight = 0x1p-100f;
inline WeightGrid WeightGridOf(uint32_t bits) {
  if (bits >= 0x7f800000) return {0, std::numeric_limits<float>::quiet_NaN()};
  const float max = std::bit_cast<float>(bits);
  if (max < kLeastWeight) return {0, 0};
  return {kWeightLevels / max, max * (1 / kWeightLevels)};
}

}  // namespace kvasir
