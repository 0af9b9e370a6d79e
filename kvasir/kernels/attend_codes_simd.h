// attend_codes.h over a vector type V of 16 floats and integer products C. C has Ints, 16 int32,
// and says the register blocks: kLogitRows x kLogitTiles, kValueRows x kValueVectors. Included by
// one file per ISA, never by anything else.
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
  static void RoundGroup(const float* q, int d, int begin, int n, std::byte* row, float* unit,
                         int32_t* sum) {
    q += begin;
    uint32_t bits = 0;  // of the largest magnitude; not-a-numbers win
    for (int j = 0; j < n; ++j) bits = std::max(bits, std::bit_cast<uint32_t>(q[j]) & 0x7fffffff);
    const float max = std::bit_cast<float>(bits);
    *sum = 0;
    if (bits >= 0x7f800000 || max < 0x1p-100f) {
      *unit = bits >= 0x7f800000 ? std::numeric_limits<float>::quiet_NaN() : 0.0f;
      for (int j = 0; j < n; ++j) C::PutLevel(row, d, begin + j, 0);
      return;
    }
    *unit = max / kQueryLevels;
    const float inverse = kQueryLevels / max;
    int32_t total = 0;
    for (int j = 0; j < n; ++j) {
      // Adding 1.5 * 2^23 leaves the nearest-even integer in the low bits.
      const int32_t level = std::bit_cast<int32_t>(q[j] * inverse + 12582912.0f) - 0x4b400000;
      C::PutLevel(row, d, begin + j, level);
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
        RoundGroup(q + r * d, d, begin, std::min(format.group, d - begin),
                   rounded.levels + 2 * r * d, rounded.unit + r * n_group + g,
                   rounded.n_sum + r * n_group + g);
      }
    }
  }

  // Brings tiles nearer, a few lines at a time between products: a burst would hold up the loads.
  // One line after the other, since tiles mostly follow each other and the machine goes on by
  // itself where lines are asked for in order.
  class Fetcher {
   public:
    Fetcher(const CodeFormat& format, int d, const CodeTile* tiles, int n_tile)
        : next_(tiles),
          end_(tiles == nullptr ? nullptr : tiles + n_tile),
          bytes_(static_cast<size_t>(d) * StripBytes(format.bits)),
          grids_(32 * format.n_group(d)),
          has_offset_(format.has_offset) {}

    // Asks for the next n lines.
    void Fetch(int n) {
      for (int i = 0; i < n; ++i, at_ += 64) {
        if (at_ >= stop_) {
          if (next_ == end_) return;
          Enter();
        }
        V::Prefetch(at_);
      }
    }

   private:
    void Enter() {
      for (int i = 0; i < grids_; i += 64) {
        V::Prefetch(reinterpret_cast<const uint8_t*>(next_->scale) + i);
        if (has_offset_) V::Prefetch(reinterpret_cast<const uint8_t*>(next_->offset) + i);
      }
      at_ = next_->codes;
      stop_ = at_ + bytes_;
      ++next_;
    }

    const uint8_t* at_ = nullptr;
    const uint8_t* stop_ = nullptr;
    const CodeTile* next_;
    const CodeTile* end_;
    size_t bytes_;
    int grids_;  // bytes
    bool has_offset_;
  };

  struct LogitCall {
    CodeFormat format;
    RoundedQueries q;
    int d;
    const CodeTile* tiles;
    Fetcher& fetcher;
    float* x;
    int x_stride;
  };

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
    const uint8_t* codes[kT];
    for (int b = 0; b < kT; ++b) codes[b] = call.tiles[i + b].codes + begin * kStrip;
    const std::byte* q = call.q.levels + C::LevelAt(begin) + 2 * r * call.d;
    C::template AddProducts<kBits, kR, kT>(
        q, call.d, codes, end - begin,
        [&] {
          if constexpr (kFetch) call.fetcher.Fetch(std::max(1, kT * kStrip / 16));
        },
        acc);
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
          if (r == 0) {
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
    Fetcher fetcher(format, d, ahead, n_tile);
    const LogitCall call = {format, q, d, tiles, fetcher, x, x_stride};
    format.bits == 4 ? LogitTiles<4>(call, n_row, n_tile) : LogitTiles<8>(call, n_row, n_tile);
  }

  struct ValueCall {
    CodeFormat format;
    const float* p;
    int p_stride;
    int d;
    const CodeTile* tiles;
    int n_tile;
    Fetcher& fetcher;
    float* acc;
  };

  // Of a tile and group, for some rows.
  struct TileWeights {
    typename C::Weights rounded;
    float offset[C::kValueRows];  // where offsets are stored: what they and the middle add
  };

  template <int kR>
  static void RoundWeights(const ValueCall& call, int r, int i, int grid, TileWeights& out) {
    const CodeTile& tile = call.tiles[i];
    const float* p = call.p + r * call.p_stride + 16 * i;
    const Reg scale = V::LoadHalf(tile.scale + grid);
    Reg w[kR];
    for (int a = 0; a < kR; ++a) w[a] = V::Mul(V::Load(p + a * call.p_stride), scale);
    C::template Round<kR>(w, call.format.middle(), out.rounded);
    if (!call.format.has_offset) return;
    const Reg middle = V::Set1(static_cast<float>(call.format.middle()));
    const Reg offset = V::Fma(scale, middle, V::LoadHalf(tile.offset + grid));
    for (int a = 0; a < kR; ++a) {
      out.offset[a] = V::ReduceAdd(V::Mul(V::Load(p + a * call.p_stride), offset));
    }
  }

  // Adds tiles [i, i + n), weighted for kR rows from row r on, to kV vectors of channels.
  template <int kBits, int kR, int kV, bool kFetch>
  static void ValueBlock(const ValueCall& call, int r, int i, int n, int channel,
                         const TileWeights* weights) {
    constexpr int kStrip = StripBytes(kBits);
    float* acc = call.acc + r * call.d + channel;
    Reg out[kR][kV];
    for (int a = 0; a < kR; ++a) {
      for (int c = 0; c < kV; ++c) out[a][c] = V::Load(acc + a * call.d + 16 * c);
    }
    for (int tile = 0; tile < n; ++tile) {
      const TileWeights& w = weights[tile];
      if constexpr (kFetch) call.fetcher.Fetch(std::max(1, kV * kStrip / 4));
      Ints sum[kR][kV];
      C::template WeightedSums<kBits, kR, kV>(call.tiles[i + tile].codes + channel * kStrip,
                                              w.rounded, sum);
      for (int a = 0; a < kR; ++a) {
        const Reg unit = V::Set1(w.rounded.unit[a]);
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
    TileWeights weights[kTiles];
    for (int i = 0; i < call.n_tile; i += kTiles) {
      const int n = std::min(kTiles, call.n_tile - i);
      for (int tile = 0; tile < n; ++tile) {
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
        if (r == 0) {
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
    Fetcher fetcher(format, d, ahead, n_tile);
    const ValueCall call = {format, p, p_stride, d, tiles, n_tile, fetcher, acc};
    format.bits == 4 ? ValueGroups<4>(call, n_row) : ValueGroups<8>(call, n_row);
  }

  static constexpr AttendCodeKernels Table() {
    return {.round_queries = RoundQueries, .logits = Logits, .values = Values};
  }
};

}  // namespace
}  // namespace kvasir
