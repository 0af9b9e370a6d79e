// Attention arithmetic on tiles of 16 tokens: logits, online softmax, weighted values.
//
// Every variant gives the same bits, and so does every way of cutting a run of tokens into tiles,
// segments or calls, because
//  - a logit is one fma chain over the channels in ascending order;
//  - softmax works in base 2 with an exponent that moves in whole steps of kExponentStep: a token
//    whose logit does not fit under the row's exponent raises it at that token, and raising scales
//    what was gathered by a power of two. Which tokens raise it is a property of the row, not of
//    how the work is cut;
//  - a value channel is one fma chain over the tokens in ascending order, and the sum of weights is
//    16 chains, chosen by the token's index in its list modulo 16.
//
// Online softmax: Milakov and Gimelshein, arXiv:1805.02867. Tiling: Dao, arXiv:2307.08691.
#pragma once

#include <cstdint>

#include "kvasir/core/isa.h"

namespace kvasir {

inline constexpr int kTileTokens = 16;
// A weight 2^(x - exponent) may reach 2^60: there is room above for 2^20 tokens of values up to
// 2^16, and below for weights 150 powers of two smaller than the largest.
inline constexpr float kExponentHeadroom = 60.0f;
inline constexpr float kExponentStep = 32.0f;
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
  //   q      (n_row, d) f32
  //   ahead  (n_tile) what is read after this: tile i of it is brought nearer while tile i of
  //          k_tiles is worked on. null = nothing
  void (*logits_f32)(const float* q, int n_row, int d, const void* const* k_tiles, int n_tile,
                     const void* const* ahead, float* x, int x_stride);
  void (*logits_f16)(const float* q, int n_row, int d, const void* const* k_tiles, int n_tile,
                     const void* const* ahead, float* x, int x_stride);

  // Finishes one row of logits: x = softcap * log2(e) * tanh(x / softcap) where softcap > 0 (x is
  // natural then, else base 2 already), plus bias (16 * n_tile) where not null.
  void (*shape_row)(float* x, int n_tile, const float* bias, float softcap);
  // Largest visible logit of a row; -inf if none.
  //   visible  (n_tile) bit t set = token t may be seen; null = all
  float (*max_row)(const float* x, int n_tile, const uint16_t* visible);
  // Weights in place: x = 2^(x - exponent), 0 where hidden; sum[(lane + t) % 16] += x[t].
  //   lane  index of the first token in its list, modulo 16
  void (*weigh_row)(float* x, int n_tile, const uint16_t* visible, int lane, float exponent,
                    float* sum);
  // Normalised weights in place: x = 2^(x - exponent) * inv_sum, 0 where hidden.
  void (*normalise_row)(float* x, int n_tile, const uint16_t* visible, float exponent,
                        float inv_sum);
  // values *= 2^shift, shift <= 0 and integer-valued; zero below 2^-126. n is a multiple of 16.
  void (*scale)(float* values, int n, float shift);

  // acc[r * d_pad + c] += sum_t p[r * p_stride + t] * v_tiles[t / 16][(t % 16) * d_pad + c]
  //   ahead  as above
  void (*values_f32)(const float* p, int p_stride, int n_row, const void* const* v_tiles,
                     int n_tile, const void* const* ahead, int d_pad, float* acc);
  void (*values_f16)(const float* p, int p_stride, int n_row, const void* const* v_tiles,
                     int n_tile, const void* const* ahead, int d_pad, float* acc);

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
