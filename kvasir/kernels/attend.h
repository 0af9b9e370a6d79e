// Attention arithmetic on tiles of 16 tokens: logits, online softmax, weighted values.
//
// Every variant gives the same bits, and so does every way of cutting a run of tokens into tiles,
// segments or calls, because
//  - a logit is one fma chain over the channels in ascending order;
//  - softmax works in base 2 with an integer exponent as its running maximum: rescaling a state is
//    then a multiplication by a power of two, which is exact, so it does not matter when the
//    maximum was met;
//  - a value channel is one fma chain over the tokens in ascending order, and the sum of weights is
//    16 chains, chosen by the token's index in its list modulo 16.
// Exactness ends where single precision ends: weights more than 186 powers of two below the row's
// largest count as zero.
//
// Online softmax: Milakov and Gimelshein, arXiv:1805.02867. Tiling: Dao, arXiv:2307.08691.
#pragma once

#include <cstdint>

#include "kvasir/core/isa.h"

namespace kvasir {

inline constexpr int kTileTokens = 16;
// The largest weight of a row is kept near 2^60, so that weights may fall to 2^-186 of it before
// single precision loses them, and 2^20 tokens of values up to 2^16 still fit.
inline constexpr float kExponentHeadroom = 60.0f;
// Value rows and accumulators are padded to whole vectors of 16 floats.
constexpr int PaddedDim(int head_dim) { return (head_dim + 15) / 16 * 16; }

enum class TileFormat : uint8_t { kF32, kF16 };
// Bytes of one tile: K is (head_dim, 16) channel-major, V is (16, PaddedDim) token-major.
constexpr int64_t KTileBytes(TileFormat f, int head_dim) {
  return int64_t{head_dim} * kTileTokens * (f == TileFormat::kF32 ? 4 : 2);
}
constexpr int64_t VTileBytes(TileFormat f, int head_dim) {
  return int64_t{PaddedDim(head_dim)} * kTileTokens * (f == TileFormat::kF32 ? 4 : 2);
}

struct AttendKernels {
  // x[r * x_stride + 16 * i + t] = sum_j q[r * d + j] * k_tiles[i][j * 16 + t]
  //   q (n_row, d) f32
  void (*logits_f32)(const float* q, int n_row, int d, const void* const* k_tiles, int n_tile,
                     float* x, int x_stride);
  void (*logits_f16)(const float* q, int n_row, int d, const void* const* k_tiles, int n_tile,
                     float* x, int x_stride);

  // Turns one row of logits into weights 2^(x - exponent) in place and updates the row's state.
  //   x         (16 * n_tile) base-2 logits; with softcap > 0 natural ones, capped here
  //   visible   (n_tile) bit t set = token t may be seen; null = all. Hidden tokens get weight 0
  //   bias      (16 * n_tile) added to base-2 logits; null = none
  //   lane      index of the first token in its list, modulo 16
  //   exponent  integer-valued, -inf while empty
  //   sum       (16); acc (d_pad): rescaled when the exponent grows
  void (*softmax_row)(float* x, int n_tile, const uint16_t* visible, const float* bias,
                      float softcap, int lane, float* exponent, float* sum, float* acc, int d_pad);

  // The second pass: x becomes the normalised weights 2^(x - exponent) * inv_sum; hidden = 0.
  void (*weights_row)(float* x, int n_tile, const uint16_t* visible, const float* bias,
                      float softcap, float exponent, float inv_sum);

  // acc[r * d_pad + c] += sum_t p[r * p_stride + t] * v_tiles[t / 16][(t % 16) * d_pad + c]
  void (*values_f32)(const float* p, int p_stride, int n_row, const void* const* v_tiles,
                     int n_tile, int d_pad, float* acc);
  void (*values_f16)(const float* p, int p_stride, int n_row, const void* const* v_tiles,
                     int n_tile, int d_pad, float* acc);

  // Round to nearest even; exact the other way.
  void (*pack_f16)(const float* src, uint16_t* dst, int64_t n);
  void (*unpack_f16)(const uint16_t* src, float* dst, int64_t n);
};

// The variants of one ISA; ActiveAttendKernels() those of ActiveIsa().
const AttendKernels& GetAttendKernels(Isa isa);
const AttendKernels& ActiveAttendKernels();

// What base-2 logits are scaled by: q is multiplied by attn_scale * kLog2E before the dot product.
inline constexpr float kLog2E = 1.44269504088896340736f;
inline constexpr float kLn2 = 0.69314718055994530942f;

// Coefficients of 2^f on [0, 1], f^1 to f^5; the constant term is 1. Relative error below 1.5e-7.
inline constexpr float kExp2C1 = 0x1.62e4bap-1f;
inline constexpr float kExp2C2 = 0x1.ebdb56p-3f;
inline constexpr float kExp2C3 = 0x1.c91ce6p-5f;
inline constexpr float kExp2C4 = 0x1.277852p-7f;
inline constexpr float kExp2C5 = 0x1.e97502p-10f;

}  // namespace kvasir
