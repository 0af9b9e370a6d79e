// attend_codes.h over a vector type V of 16 floats and integer products C. C has Ints, 16 int32,
// and says the register blocks: kLogitRows, kValueRows x kValueVectors. Included by one file per
// ISA, never by anything else.
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

  // Channels [begin, begin + n) of a row.
  static void RoundGroup(const float* q, int begin, int n, std::byte* row, float* unit,
                         int32_t* sum) {
    q += begin;
    uint32_t bits = 0;  // of the largest magnitude; not-a-numbers win
    for (int j = 0; j < n; ++j) bits = std::max(bits, std::bit_cast<uint32_t>(q[j]) & 0x7fffffff);
    const float max = std::bit_cast<float>(bits);
    *sum = 0;
    if (bits >= 0x7f800000 || max < 0x1p-100f) {
      *unit = bits >= 0x7f800000 ? std::numeric_limits<float>::quiet_NaN() : 0.0f;
      for (int j = 0; j < n; ++j) C::PutLevel(row, begin + j, 0);
      return;
    }
    *unit = max / kQueryLevels;
    const float inverse = kQueryLevels / max;
    int32_t total = 0;
    for (int j = 0; j < n; ++j) {
      // Adding 1.5 * 2^23 leaves the nearest-even integer in the low bits.
      const int32_t level = std::bit_cast<int32_t>(q[j] * inverse + 12582912.0f) - 0x4b400000;
      C::PutLevel(row, begin + j, level);
      total += level;
    }
    *sum = total;
  }

  static void RoundQueries(const CodeFormat& format, const float* q, int n_row, int d,
                           const RoundedQueries& rounded) {
    const int n_group = format.n_group(d);
    for (int r = 0; r < n_row; ++r) {
      for (int g = 0; g < n_group; ++g) {
        const int begin = g * format.group;
        RoundGroup(q + r * d, begin, std::min(format.group, d - begin), rounded.levels + 2 * r * d,
                   rounded.unit + r * n_group + g, rounded.n_sum + r * n_group + g);
      }
    }
  }

  // Brings the scales of a group nearer. Its codes are asked for between products: a burst would
  // hold up the loads.
  static void FetchGrid(const CodeFormat& format, const CodeTile& tile, int grid) {
    V::Prefetch(tile.scale + grid);
    if (format.has_offset) V::Prefetch(tile.offset + grid);
  }

  struct LogitCall {
    CodeFormat format;
    RoundedQueries q;
    int d;
    const CodeTile* tiles;
    int n_tile;
    const CodeTile* ahead;
    float* x;
    int x_stride;
  };

  // x of kR rows from row r on and all tiles.
  template <int kBits, int kR, bool kOffset, bool kFetch>
  static void LogitBlock(const LogitCall& call, int r) {
    constexpr int kStrip = StripBytes(kBits);
    const int d = call.d, group = call.format.group, n_group = call.format.n_group(d);
    const int zero = call.format.zero;
    const std::byte* q = call.q.levels + 2 * r * d;
    const float* unit = call.q.unit + r * n_group;
    const int32_t* n_sum = call.q.n_sum + r * n_group;
    float* out = call.x + r * call.x_stride;
    for (int i = 0; i < call.n_tile; ++i, out += 16) {
      const CodeTile tile = call.tiles[i];
      const uint8_t* ahead = kFetch ? call.ahead[i].codes : nullptr;
      Reg x[kR];
      for (int a = 0; a < kR; ++a) x[a] = V::Zero();
      for (int g = 0; g < n_group; ++g) {
        typename C::LogitSum acc[kR];
        for (int a = 0; a < kR; ++a) acc[a] = C::StartLogit(-zero * n_sum[a * n_group + g]);
        if constexpr (kFetch) FetchGrid(call.format, call.ahead[i], 16 * g);
        const int begin = g * group, end = std::min(d, begin + group);
        for (int channel = begin; channel < end; channel += 16) {
          for (int j = 0; j < 16; j += 4) {
            const int at = channel + j;
            if constexpr (kFetch) V::Prefetch(ahead + at * kStrip);
            C::template AddProducts<kBits, kR>(q + C::LevelAt(at), d, tile.codes + at * kStrip,
                                               acc);
          }
        }
        const Reg scale = V::LoadHalf(tile.scale + 16 * g);
        for (int a = 0; a < kR; ++a) {
          const float u = unit[a * n_group + g];
          x[a] = V::Fma(scale, V::Mul(C::ToFloat(C::Total(acc[a])), V::Set1(u)), x[a]);
          if constexpr (kOffset) {
            const Reg sum = V::Set1(static_cast<float>(n_sum[a * n_group + g]) * u);
            x[a] = V::Fma(V::LoadHalf(tile.offset + 16 * g), sum, x[a]);
          }
        }
      }
      for (int a = 0; a < kR; ++a) V::Store(out + a * call.x_stride, x[a]);
    }
  }

  template <int kBits, bool kOffset, int kR = C::kLogitRows>
  static void LogitRows(const LogitCall& call, int r, int n_row) {
    if constexpr (kR > 0) {
      for (; r + kR <= n_row; r += kR) {
        if (r == 0 && call.ahead != nullptr) {
          LogitBlock<kBits, kR, kOffset, true>(call, r);
        } else {
          LogitBlock<kBits, kR, kOffset, false>(call, r);
        }
      }
      LogitRows<kBits, kOffset, kR - 1>(call, r, n_row);
    }
  }

  static void Logits(const CodeFormat& format, const RoundedQueries& q, int n_row, int d,
                     const CodeTile* tiles, int n_tile, const CodeTile* ahead, float* x,
                     int x_stride) {
    const LogitCall call = {format, q, d, tiles, n_tile, ahead, x, x_stride};
    if (format.bits == 4) {
      format.has_offset ? LogitRows<4, true>(call, 0, n_row) : LogitRows<4, false>(call, 0, n_row);
    } else {
      format.has_offset ? LogitRows<8, true>(call, 0, n_row) : LogitRows<8, false>(call, 0, n_row);
    }
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

  static constexpr int kTiles = 8;  // whose weights wait in the first cache
  static constexpr int kRows = C::kValueRows;

  // The rounded weights of some rows for one group of some tiles.
  struct GroupWeights {
    typename C::Weights tile[kTiles];
    alignas(64) float unit[kTiles][kRows];
    float offset[kTiles][kRows];  // where offsets are stored: what they and the middle add
  };

  // In three turns over the tiles, each without waiting: the largest of each tile and row, what
  // they are divided by, the integers.
  template <int kR>
  static void RoundWeights(const ValueCall& call, int r, int i, int n, int grid,
                           GroupWeights& out) {
    alignas(64) float largest[kTiles][kRows], inverse[kTiles][kRows];
    const float* p = call.p + r * call.p_stride + 16 * i;
    const auto weigh = [&](int tile, Reg(&w)[kR]) {
      const Reg scale = V::LoadHalf(call.tiles[i + tile].scale + grid);
      for (int a = 0; a < kR; ++a) w[a] = V::Mul(V::Load(p + a * call.p_stride + 16 * tile), scale);
      return scale;
    };
    Reg w[kR];
    for (int tile = 0; tile < n; ++tile) {
      weigh(tile, w);
      C::template Largest<kR>(w, largest[tile]);
    }
    C::Grids(n * kRows, &largest[0][0], &inverse[0][0], &out.unit[0][0]);
    for (int tile = 0; tile < n; ++tile) {
      const Reg scale = weigh(tile, w);
      C::template Round<kR>(w, inverse[tile], call.format.middle(), out.tile[tile]);
      if (!call.format.has_offset) continue;
      const Reg middle = V::Set1(static_cast<float>(call.format.middle()));
      const Reg offset = V::Fma(scale, middle, V::LoadHalf(call.tiles[i + tile].offset + grid));
      for (int a = 0; a < kR; ++a) {
        out.offset[tile][a] =
            V::ReduceAdd(V::Mul(V::Load(p + a * call.p_stride + 16 * tile), offset));
      }
    }
  }

  // Adds tiles [i, i + n), weighted for kR rows from row r on, to kV vectors of channels.
  template <int kBits, int kR, int kV, bool kFetch>
  static void ValueBlock(const ValueCall& call, int r, int i, int n, int channel,
                         const GroupWeights& weights) {
    constexpr int kStrip = StripBytes(kBits);
    float* acc = call.acc + r * call.d + channel;
    Reg out[kR][kV];
    for (int a = 0; a < kR; ++a) {
      for (int c = 0; c < kV; ++c) out[a][c] = V::Load(acc + a * call.d + 16 * c);
    }
    for (int tile = 0; tile < n; ++tile) {
      if constexpr (kFetch) {
        const uint8_t* ahead = call.ahead[i + tile].codes + channel * kStrip;
        for (int line = 0; line < 16 * kV * kStrip; line += 64) V::Prefetch(ahead + line);
      }
      Ints sum[kR][kV];
      C::template WeightedSums<kBits, kR, kV>(call.tiles[i + tile].codes + channel * kStrip,
                                              weights.tile[tile], sum);
      for (int a = 0; a < kR; ++a) {
        const Reg unit = V::Set1(weights.unit[tile][a]);
        for (int c = 0; c < kV; ++c) out[a][c] = V::Fma(unit, C::ToFloat(sum[a][c]), out[a][c]);
        if (!call.format.has_offset) continue;
        const Reg offset = V::Set1(weights.offset[tile][a]);
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
    const int grid = begin / call.format.group * 16;
    GroupWeights weights;
    for (int i = 0; i < call.n_tile; i += kTiles) {
      const int n = std::min(kTiles, call.n_tile - i);
      for (int tile = 0; kFetch && tile < n; ++tile) {
        FetchGrid(call.format, call.ahead[i + tile], grid);
      }
      RoundWeights<kR>(call, r, i, n, grid, weights);
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
