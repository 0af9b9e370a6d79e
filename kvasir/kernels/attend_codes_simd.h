// attend_codes.h over a vector type V of 16 floats and a reader C of 16 codes (kv_codes_avx512.h,
// ...). C also has Ints, 16 int32; K, a pair of neighbouring channels of 16 tokens as 32 int16; and
// says the register blocks: kLogitRows x kLogitTiles, kValueRows.
// Included by one file per ISA, never by anything else.
#pragma once

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "kvasir/kernels/attend_codes.h"

namespace kvasir {
namespace {

template <typename V, typename C>
struct AttendCodesSimd {
  using Reg = typename V::Reg;
  using Ints = typename C::Ints;

  static void RoundGroup(const float* q, int n, int16_t* out, float* unit, int32_t* sum) {
    uint32_t bits = 0;  // of the largest magnitude; not-a-numbers win
    for (int j = 0; j < n; ++j) bits = std::max(bits, std::bit_cast<uint32_t>(q[j]) & 0x7fffffff);
    const float max = std::bit_cast<float>(bits);
    *sum = 0;
    if (bits >= 0x7f800000 || max < 0x1p-100f) {
      *unit = bits >= 0x7f800000 ? std::numeric_limits<float>::quiet_NaN() : 0.0f;
      std::memset(out, 0, static_cast<size_t>(n) * sizeof(*out));
      return;
    }
    *unit = max / kQueryLevels;
    const float inverse = kQueryLevels / max;
    int32_t total = 0;
    for (int j = 0; j < n; ++j) {
      // Adding 1.5 * 2^23 leaves the nearest-even integer in the low bits.
      const int32_t level = std::bit_cast<int32_t>(q[j] * inverse + 12582912.0f) - 0x4b400000;
      out[j] = static_cast<int16_t>(level);
      total += level;
    }
    *sum = total;
  }

  static void RoundQueries(const CodeFormat& format, const float* q, int n_row, int d,
                           const RoundedQueries& rounded) {
    const int n_group = format.n_group(d);
    for (int r = 0; r < n_row; ++r) {
      for (int g = 0; g < n_group; ++g) {
        const int first = r * d + g * format.group;
        RoundGroup(q + first, std::min(format.group, d - g * format.group), rounded.n + first,
                   rounded.unit + r * n_group + g, rounded.n_sum + r * n_group + g);
      }
    }
  }

  struct LogitCall {
    CodeFormat format;
    RoundedQueries q;
    int d;
    const CodeTile* tiles;
    const CodeTile* ahead;
    float* x;
    int x_stride;
  };

  // Brings the scales of a group nearer; its codes are asked for between products.
  static void FetchGrid(const CodeFormat& format, const CodeTile& tile, int grid) {
    V::Prefetch(tile.scale + grid);
    if (format.has_offset) V::Prefetch(tile.offset + grid);
  }

  // x of kR rows from row r on and kT tiles from tile i on, over the channels [begin, end) of
  // group g.
  template <int kBits, int kR, int kT, bool kFetch>
  static void LogitGroup(const LogitCall& call, int r, int i, int g, int begin, int end) {
    constexpr int kStrip = StripBytes(kBits);
    const int grid = r * call.format.n_group(call.d) + g;
    const int grid_step = call.format.n_group(call.d);
    Ints acc[kR][kT];
    for (int a = 0; a < kR; ++a) {
      const Ints start = C::SetInt(-call.format.zero * call.q.n_sum[grid + a * grid_step]);
      for (int b = 0; b < kT; ++b) acc[a][b] = start;
    }
    if constexpr (kFetch) {
      for (int b = 0; b < kT; ++b) FetchGrid(call.format, call.ahead[i + b], 16 * g);
    }
    const uint8_t* codes[kT];
    const uint8_t* ahead[kT] = {};
    for (int b = 0; b < kT; ++b) {
      codes[b] = call.tiles[i + b].codes;
      if constexpr (kFetch) ahead[b] = call.ahead[i + b].codes;
    }
    const int16_t* q = call.q.n + r * call.d;
    for (int j = begin; j < end; j += 4) {
      if constexpr (kFetch) {
        for (int b = 0; b < kT; ++b) V::Prefetch(ahead[b] + j * kStrip);
      }
      // One pair at a time: two would not leave the sums in registers.
      for (int half = 0; half < 2; ++half) {
        typename C::Pair pair[kT];
        for (int b = 0; b < kT; ++b) {
          pair[b] = C::template LoadPair<kBits>(codes[b] + j * kStrip, half);
        }
        for (int a = 0; a < kR; ++a) {
          const auto n = C::BroadcastPair(q + a * call.d + j + 2 * half);
          for (int b = 0; b < kT; ++b) acc[a][b] = C::AddProducts(acc[a][b], pair[b], n);
        }
      }
    }
    for (int b = 0; b < kT; ++b) {
      const CodeTile& tile = call.tiles[i + b];
      const Reg scale = V::LoadHalf(tile.scale + 16 * g);
      Reg offset = V::Zero();
      if (call.format.has_offset) offset = V::LoadHalf(tile.offset + 16 * g);
      for (int a = 0; a < kR; ++a) {
        const float unit = call.q.unit[grid + a * grid_step];
        float* at = call.x + (r + a) * call.x_stride + 16 * (i + b);
        Reg x = g == 0 ? V::Zero() : V::Load(at);
        x = V::Fma(scale, V::Mul(C::ToFloat(acc[a][b]), V::Set1(unit)), x);
        if (call.format.has_offset) {
          const float sum = static_cast<float>(call.q.n_sum[grid + a * grid_step]) * unit;
          x = V::Fma(offset, V::Set1(sum), x);
        }
        V::Store(at, x);
      }
    }
  }

  template <int kBits, int kT, int kR = C::kLogitRows>
  static void LogitRows(const LogitCall& call, int r, int n_row, int i) {
    if constexpr (kR > 0) {
      const int n_group = call.format.n_group(call.d);
      for (; r + kR <= n_row; r += kR) {
        for (int g = 0; g < n_group; ++g) {
          const int begin = g * call.format.group;
          const int end = std::min(call.d, begin + call.format.group);
          if (r == 0 && call.ahead != nullptr) {
            LogitGroup<kBits, kR, kT, true>(call, r, i, g, begin, end);
          } else {
            LogitGroup<kBits, kR, kT, false>(call, r, i, g, begin, end);
          }
        }
      }
      LogitRows<kBits, kT, kR - 1>(call, r, n_row, i);
    }
  }

  template <int kBits>
  static void LogitTiles(const LogitCall& call, int n_row, int n_tile) {
    int i = 0;
    for (; i + C::kLogitTiles <= n_tile; i += C::kLogitTiles) {
      LogitRows<kBits, C::kLogitTiles>(call, 0, n_row, i);
    }
    for (; i < n_tile; ++i) LogitRows<kBits, 1>(call, 0, n_row, i);
  }

  static void Logits(const CodeFormat& format, const RoundedQueries& q, int n_row, int d,
                     const CodeTile* tiles, int n_tile, const CodeTile* ahead, float* x,
                     int x_stride) {
    const LogitCall call = {format, q, d, tiles, ahead, x, x_stride};
    format.bits == 4 ? LogitTiles<4>(call, n_row, n_tile) : LogitTiles<8>(call, n_row, n_tile);
  }

  struct ValueCall {
    CodeFormat format;
    const float* p;
    int p_stride;
    int d;
    const CodeTile* tiles;
    int n_tile;
    const CodeTile* ahead;
    float* acc;
  };

  // The weights of kR rows for one group of a tile.
  template <int kR>
  struct TileWeights {
    alignas(64) typename C::Digits digits[kR];
    float unit[kR];
    int32_t start[kR];  // what the zero takes off: -zero times the sum of the integers
    float offset[kR];   // sum of p_t * o_t, where offsets are stored
  };

  template <int kR>
  static void RoundWeights(const ValueCall& call, int r, int i, int grid, TileWeights<kR>& out) {
    const CodeTile& tile = call.tiles[i];
    const float* p = call.p + r * call.p_stride + 16 * i;
    const Reg scale = V::LoadHalf(tile.scale + grid);
    Reg w[kR];
    for (int a = 0; a < kR; ++a) w[a] = V::Mul(V::Load(p + a * call.p_stride), scale);
    C::template Round<kR>(w, call.format.zero, out.digits, out.unit, out.start);
    if (!call.format.has_offset) return;
    const Reg offset = V::LoadHalf(tile.offset + grid);
    for (int a = 0; a < kR; ++a) {
      out.offset[a] = V::ReduceAdd(V::Mul(V::Load(p + a * call.p_stride), offset));
    }
  }

  // Adds tiles [i, i + n), weighted for kR rows from row r on, to kV vectors of channels.
  template <int kBits, int kR, int kV, bool kFetch>
  static void ValueBlock(const ValueCall& call, int r, int i, int n, int channel,
                         const TileWeights<kR>* weights) {
    constexpr int kStrip = StripBytes(kBits);
    float* acc = call.acc + r * call.d + channel;
    Reg out[kR][kV];
    for (int a = 0; a < kR; ++a) {
      for (int c = 0; c < kV; ++c) out[a][c] = V::Load(acc + a * call.d + 16 * c);
    }
    for (int tile = 0; tile < n; ++tile) {
      const TileWeights<kR>& w = weights[tile];
      if constexpr (kFetch) {
        const uint8_t* ahead = call.ahead[i + tile].codes + channel * kStrip;
        for (int line = 0; line < 16 * kV * kStrip; line += 64) V::Prefetch(ahead + line);
      }
      Ints sum[kR][kV];
      C::template WeightedSums<kBits, kR, kV>(call.tiles[i + tile].codes + channel * kStrip,
                                              w.digits, w.start, sum);
      for (int a = 0; a < kR; ++a) {
        const Reg unit = V::Set1(w.unit[a]);
        for (int c = 0; c < kV; ++c) out[a][c] = V::Fma(unit, C::ToFloat(sum[a][c]), out[a][c]);
        if (!call.format.has_offset) continue;
        const Reg offset = V::Set1(w.offset[a]);
        for (int c = 0; c < kV; ++c) out[a][c] = V::Add(out[a][c], offset);
      }
    }
    for (int a = 0; a < kR; ++a) {
      for (int c = 0; c < kV; ++c) V::Store(acc + a * call.d + 16 * c, out[a][c]);
    }
  }

  // Channels [begin, end) of one group for kR rows from row r on.
  template <int kBits, int kR, bool kFetch>
  static void ValueGroup(const ValueCall& call, int r, int begin, int end) {
    constexpr int kV = C::kValueVectors;
    constexpr int kTiles = 8;  // whose weights wait in the first cache
    const int grid = begin / call.format.group * 16;
    TileWeights<kR> weights[kTiles];
    for (int i = 0; i < call.n_tile; i += kTiles) {
      const int n = std::min(kTiles, call.n_tile - i);
      for (int tile = 0; tile < n; ++tile) {
        if constexpr (kFetch) FetchGrid(call.format, call.ahead[i + tile], grid);
        RoundWeights<kR>(call, r, i + tile, grid, weights[tile]);
      }
      int c = begin;
      for (; c + 16 * kV <= end; c += 16 * kV) {
        ValueBlock<kBits, kR, kV, kFetch>(call, r, i, n, c, weights);
      }
      if constexpr (kV > 1) {
        for (; c < end; c += 16) ValueBlock<kBits, kR, 1, kFetch>(call, r, i, n, c, weights);
      }
    }
  }

  template <int kBits, int kR = C::kValueRows>
  static void ValueRows(const ValueCall& call, int r, int n_row, int begin, int end) {
    if constexpr (kR > 0) {
      for (; r + kR <= n_row; r += kR) {
        if (r == 0 && call.ahead != nullptr) {
          ValueGroup<kBits, kR, true>(call, r, begin, end);
        } else {
          ValueGroup<kBits, kR, false>(call, r, begin, end);
        }
      }
      ValueRows<kBits, kR - 1>(call, r, n_row, begin, end);
    }
  }

  template <int kBits>
  static void ValueGroups(const ValueCall& call, int n_row) {
    for (int begin = 0; begin < call.d; begin += call.format.group) {
      ValueRows<kBits>(call, 0, n_row, begin, std::min(call.d, begin + call.format.group));
    }
  }

  static void Values(const CodeFormat& format, const float* p, int p_stride, int n_row, int d,
                     const CodeTile* tiles, int n_tile, const CodeTile* ahead, float* acc) {
    const ValueCall call = {format, p, p_stride, d, tiles, n_tile, ahead, acc};
    format.bits == 4 ? ValueGroups<4>(call, n_row) : ValueGroups<8>(call, n_row);
  }

  static constexpr AttendCodeKernels Table() {
    return {.round_queries = RoundQueries, .logits = Logits, .values = Values};
  }
};

}  // namespace
}  // namespace kvasir
