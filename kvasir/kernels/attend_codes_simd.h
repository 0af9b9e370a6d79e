// attend_codes.h over a vector type V of 16 floats and integer products C. C has Ints, 16 int32,
// and says the register blocks: kLogitRows, kValueRows x kValueVectors. Included by one file per
// ISA, never by anything else.
#pragma once

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstring>
#include <limits>

#include "kvasir/core/prefetch.h"
#include "kvasir/kernels/attend_codes.h"

namespace kvasir {
namespace {

template <typename V, typename C>
struct AttendCodesSimd {
  using Reg = typename V::Reg;
  using Ints = typename C::Ints;

  static constexpr int kQuadBytes = 8;

  // Rows are taken in blocks of kLogitRows, and those left over in one more. The integers of a
  // block lie as its products ask for them: of every row in turn those of the first four channels,
  // then those of the next four, kQuadBytes each.
  //   to    where those of the first four channels go
  //   step  from there to the next four
  static void RoundGroup(const float* q, int n, std::byte* to, int step, float* unit,
                         int32_t* sum) {
    uint32_t largest = 0;  // bits of the largest magnitude; not-a-numbers win
    for (int j = 0; j < n; ++j) {
      largest = std::max(largest, std::bit_cast<uint32_t>(q[j]) & 0x7fffffff);
    }
    const float max = std::bit_cast<float>(largest);
    const bool finite = largest < 0x7f800000;
    const bool zero = !finite || max < 0x1p-100f;
    *unit = !finite ? std::numeric_limits<float>::quiet_NaN() : (zero ? 0.0f : max / kQueryLevels);
    const float inverse = kQueryLevels / max;
    int32_t total = 0;
    for (int j = 0; j < n; j += 16, to += 4 * step) {
      alignas(64) int32_t level[16] = {};
      for (int i = 0; i < 16 && !zero; ++i) {
        // Adding 1.5 * 2^23 leaves the nearest-even integer in the low bits.
        level[i] = std::bit_cast<int32_t>(q[j + i] * inverse + 12582912.0f) - 0x4b400000;
        total += level[i];
      }
      C::PutLevels(level, to, step);
    }
    *sum = total;
  }

  static void RoundQueries(const CodeFormat& format, const float* q, int n_row, int d,
                           const RoundedQueries& rounded) {
    const int n_group = format.n_group(d);
    for (int r = 0; r < n_row; ++r) {
      const int first = r / C::kLogitRows * C::kLogitRows;
      const int step = std::min(C::kLogitRows, n_row - first) * kQuadBytes;
      std::byte* to = rounded.levels + 2 * first * d + (r - first) * kQuadBytes;
      for (int g = 0; g < n_group; ++g) {
        const int begin = g * format.group;
        RoundGroup(q + r * d + begin, std::min(format.group, d - begin), to + begin / 4 * step,
                   step, rounded.unit + r * n_group + g, rounded.n_sum + r * n_group + g);
      }
    }
  }

  // What is brought nearer during some tiles: to each of them falls an equal number of those that
  // come after. Codes are asked for between products, since a burst would hold up the loads; scales
  // before them. kMost: 0 = nothing, 1 = one for one, else up to that many for one.
  template <int kMost>
  class Ahead {
   public:
    Ahead(const CodeTile* tiles, int n, int n_tile)
        : tiles_(tiles), n_(n), share_(kMost > 1 ? (n + n_tile - 1) / n_tile : kMost) {}
    // Those of tile i, from byte `offset` of their codes on.
    void Enter(int i, int offset = 0) {
      for (int k = 0; k < kMost; ++k) {
        at_[k] = tiles_[std::min(i * share_ + k, n_ - 1)].codes + offset;
      }
    }
    [[gnu::always_inline]] void FetchGrid(const CodeFormat& format, int i, int grid) const {
      for (int k = 0; k < (kMost > 1 ? share_ : kMost); ++k) {
        const CodeTile& tile = tiles_[std::min(i * share_ + k, n_ - 1)];
        PrefetchLine(tile.scale + grid);
        if (format.has_offset) PrefetchLine(tile.offset + grid);
      }
    }
    [[gnu::always_inline]] void Fetch(int byte) const {
      for (int k = 0; k < (kMost > 1 ? share_ : kMost); ++k) PrefetchLine(at_[k] + byte);
    }

   private:
    const CodeTile* tiles_;
    int n_, share_;
    const uint8_t* at_[std::max(kMost, 1)];
  };
  static int MostFetched(int n_ahead, int n_tile) {
    return n_ahead > n_tile ? kMaxFetch : std::min(n_ahead, 1);
  }

  struct LogitCall {
    CodeFormat format;
    RoundedQueries q;
    int d;
    const CodeTile* tiles;
    int n_tile;
    const CodeTile* ahead;
    int n_ahead;
    float* x;
    int x_stride;
  };

  // What the rows of a block have of one group.
  template <int kR>
  struct GroupQueries {
    int32_t start[kR];  // of the sums of products: what the codes' zero takes off
    float unit[kR];
    float sum[kR];  // what offsets are multiplied by
  };

  // x of the block of kR rows from row r on and all tiles.
  template <int kBits, int kR, bool kOffset, int kMost>
  static void LogitBlock(const LogitCall& call, int r) {
    constexpr int kQuadCodes = 4 * StripBytes(kBits), kQuad = kR * kQuadBytes;
    const int d = call.d, group = call.format.group, n_group = call.format.n_group(d);
    assert(n_group <= kMaxCodeGroups);
    GroupQueries<kR> groups[kMaxCodeGroups];
    for (int g = 0; g < n_group; ++g) {
      for (int a = 0; a < kR; ++a) {
        const int32_t n_sum = call.q.n_sum[(r + a) * n_group + g];
        groups[g].start[a] = -call.format.zero * n_sum;
        groups[g].unit[a] = call.q.unit[(r + a) * n_group + g];
        groups[g].sum[a] = static_cast<float>(n_sum) * groups[g].unit[a];
      }
    }
    Ahead<kMost> ahead(call.ahead, call.n_ahead, call.n_tile);
    float* out = call.x + r * call.x_stride;
    for (int i = 0; i < call.n_tile; ++i, out += 16) {
      const CodeTile& tile = call.tiles[i];
      const uint8_t* codes = tile.codes;
      int offset = 0;
      ahead.Enter(i);
      const std::byte* q = call.q.levels + 2 * r * d;
      Reg x[kR];
      for (int a = 0; a < kR; ++a) x[a] = V::Zero();
      for (int g = 0; g < n_group; ++g) {
        const GroupQueries<kR>& of = groups[g];
        typename C::LogitSum acc[kR];
        for (int a = 0; a < kR; ++a) acc[a] = C::StartLogit(of.start[a]);
        ahead.FetchGrid(call.format, i, 16 * g);
        for (int left = std::min(group, d - g * group); left > 0; left -= 16) {
          for (int quad = 0; quad < 4; ++quad) {
            if (quad * kQuadCodes % 64 == 0) ahead.Fetch(offset + quad * kQuadCodes);
            C::template AddProducts<kBits, kR>(q + quad * kQuad, codes + quad * kQuadCodes, acc);
          }
          q += 4 * kQuad;
          codes += 4 * kQuadCodes;
          offset += 4 * kQuadCodes;
        }
        const Reg scale = V::LoadHalf(tile.scale + 16 * g);
        for (int a = 0; a < kR; ++a) {
          const Reg dot = C::ToFloat(C::Total(acc[a]));
          x[a] = V::Fma(scale, V::Mul(dot, V::Set1(of.unit[a])), x[a]);
          if constexpr (kOffset) {
            x[a] = V::Fma(V::LoadHalf(tile.offset + 16 * g), V::Set1(of.sum[a]), x[a]);
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
        const int most = r == 0 ? MostFetched(call.n_ahead, call.n_tile) : 0;
        if (most == 0) {
          LogitBlock<kBits, kR, kOffset, 0>(call, r);
        } else if (most == 1) {
          LogitBlock<kBits, kR, kOffset, 1>(call, r);
        } else {
          LogitBlock<kBits, kR, kOffset, kMaxFetch>(call, r);
        }
      }
      LogitRows<kBits, kOffset, kR - 1>(call, r, n_row);
    }
  }

  static void Logits(const CodeFormat& format, const RoundedQueries& q, int n_row, int d,
                     const CodeTile* tiles, int n_tile, const CodeTile* ahead, int n_ahead,
                     float* x, int x_stride) {
    const LogitCall call = {format, q, d, tiles, n_tile, ahead, n_ahead, x, x_stride};
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
    int n_ahead;
    float* acc;
  };

  static constexpr int kTiles = 8;  // whose weights wait in the first cache
  static constexpr int kRows = C::kValueRows;

  // The rounded weights of some rows for one group of some tiles.
  struct GroupWeights {
    typename C::Weights tile[kTiles];
    alignas(64) float unit[kTiles][kRows];
    // What offsets, where they are stored, and the middle add.
    alignas(16) float offset[kTiles][kRows];
  };

  // In three turns over the tiles, each without waiting: the largest of each tile and row, what
  // they are divided by, the integers.
  template <int kR, bool kSigned>
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
      C::template Largest<kR, kSigned>(w, largest[tile]);
    }
    C::Grids(n * kRows, &largest[0][0], &inverse[0][0], &out.unit[0][0]);
    for (int tile = 0; tile < n; ++tile) {
      const Reg scale = weigh(tile, w);
      C::template Round<kR, kSigned>(w, inverse[tile], call.format.middle(), out.tile[tile]);
      if (!call.format.has_offset) continue;
      const Reg middle = V::Set1(static_cast<float>(call.format.middle()));
      const Reg offset = V::Fma(scale, middle, V::LoadHalf(call.tiles[i + tile].offset + grid));
      for (int a = 0; a < kR; ++a) {
        w[a] = V::Mul(V::Load(p + a * call.p_stride + 16 * tile), offset);
      }
      C::template AddLanes<kR>(w, out.offset[tile]);
    }
  }

  // Adds tiles [i, i + n), weighted for kR rows from row r on, to kV vectors of channels.
  template <int kBits, int kR, int kV, bool kSigned, int kMost>
  static void ValueBlock(const ValueCall& call, int r, int i, int n, int channel,
                         const GroupWeights& weights) {
    constexpr int kStrip = StripBytes(kBits);
    float* acc = call.acc + r * call.d + channel;
    Reg out[kR][kV];
    for (int a = 0; a < kR; ++a) {
      for (int c = 0; c < kV; ++c) out[a][c] = V::Load(acc + a * call.d + 16 * c);
    }
    Ahead<kMost> ahead(call.ahead, call.n_ahead, call.n_tile);
    for (int tile = 0; tile < n; ++tile) {
      ahead.Enter(i + tile, channel * kStrip);
      for (int line = 0; line < 16 * kV * kStrip; line += 64) ahead.Fetch(line);
      Ints sum[kR][kV];
      C::template WeightedSums<kBits, kR, kV, kSigned>(
          call.tiles[i + tile].codes + channel * kStrip, weights.tile[tile], sum);
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
  template <int kBits, int kR, bool kSigned, int kMost>
  static void ValueGroup(const ValueCall& call, int r, int begin, int end) {
    constexpr int kV = C::kValueVectors;
    const int grid = begin / call.format.group * 16;
    GroupWeights weights;
    const Ahead<kMost> ahead(call.ahead, call.n_ahead, call.n_tile);
    for (int i = 0; i < call.n_tile; i += kTiles) {
      const int n = std::min(kTiles, call.n_tile - i);
      for (int tile = 0; tile < n; ++tile) ahead.FetchGrid(call.format, i + tile, grid);
      RoundWeights<kR, kSigned>(call, r, i, n, grid, weights);
      int c = begin;
      for (; c + 16 * kV <= end; c += 16 * kV) {
        ValueBlock<kBits, kR, kV, kSigned, kMost>(call, r, i, n, c, weights);
      }
      if constexpr (kV > 1) {
        for (; c < end; c += 16)
          ValueBlock<kBits, kR, 1, kSigned, kMost>(call, r, i, n, c, weights);
      }
    }
  }

  template <int kBits, bool kSigned, int kR = C::kValueRows>
  static void ValueRows(const ValueCall& call, int r, int n_row, int begin, int end) {
    if constexpr (kR > 0) {
      for (; r + kR <= n_row; r += kR) {
        const int most = r == 0 ? MostFetched(call.n_ahead, call.n_tile) : 0;
        if (most == 0) {
          ValueGroup<kBits, kR, kSigned, 0>(call, r, begin, end);
        } else if (most == 1) {
          ValueGroup<kBits, kR, kSigned, 1>(call, r, begin, end);
        } else {
          ValueGroup<kBits, kR, kSigned, kMaxFetch>(call, r, begin, end);
        }
      }
      ValueRows<kBits, kSigned, kR - 1>(call, r, n_row, begin, end);
    }
  }

  template <int kBits, bool kSigned>
  static void ValueGroups(const ValueCall& call, int n_row) {
    for (int begin = 0; begin < call.d; begin += call.format.group) {
      ValueRows<kBits, kSigned>(call, 0, n_row, begin, std::min(call.d, begin + call.format.group));
    }
  }

  // Where no weight can be below 0 that may be used.
  template <int kBits>
  static void ValuesOf(const ValueCall& call, int n_row) {
    if constexpr (C::kUsesSigns) {
      if (call.format.is_positive) return ValueGroups<kBits, false>(call, n_row);
    }
    ValueGroups<kBits, true>(call, n_row);
  }

  static void Values(const CodeFormat& format, const float* p, int p_stride, int n_row, int d,
                     const CodeTile* tiles, int n_tile, const CodeTile* ahead, int n_ahead,
                     float* acc) {
    const ValueCall call = {format, p, p_stride, d, tiles, n_tile, ahead, n_ahead, acc};
    format.bits == 4 ? ValuesOf<4>(call, n_row) : ValuesOf<8>(call, n_row);
  }

  static constexpr AttendCodeKernels Table() {
    return {.round_queries = RoundQueries, .logits = Logits, .values = Values};
  }
};

}  // namespace
}  // namespace kvasir
