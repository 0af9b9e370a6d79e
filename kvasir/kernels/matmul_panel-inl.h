// The matrix product over panels, written once for every vector class V (see matmul_avx512.cc for
// its members). Few tokens read stripes, or floats, in place; else tokens share a panel unpacked to
// scratch, a chunk of columns at a time, so that scratch is small and stays in the first cache.
// Partial results wait in y between chunks, which leaves each chain as it is.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstring>
#include <utility>

#include "kvasir/core/prefetch.h"
#include "kvasir/kernels/activations-inl.h"
#include "kvasir/kernels/matmul_kernels.h"
#include "kvasir/kernels/panel_formats-inl.h"
#include "kvasir/kernels/weight_stripes.h"

namespace kvasir {
namespace {

// The part of the next panel that lies where block b of this one does when a panel is taken as one
// run of bytes. One panel ahead is far enough for memory, and reading it as a run is what memory
// likes, while the product itself walks kLanes rows at once.
template <class V>
const uint8_t* NextPanel(PanelAt at, int64_t b, size_t block_bytes) {
  return at.p + V::kLanes * (at.stride + static_cast<size_t>(b) * block_bytes);
}

// Keeps the compiler from loading things early, or once for several uses: it would have to store
// what it has no registers for.
inline void LoadAfresh() { std::atomic_signal_fence(std::memory_order_seq_cst); }

// Stripes are one run of bytes, which the machine itself reads ahead.
template <size_t kBlockBytes, class Unpacked>
struct Direct {
  StripesAt at;
  [[gnu::always_inline]] Unpacked operator[](int64_t b) const {
    return Unpacked(at + static_cast<size_t>(b) * kBlockBytes);
  }
};

// Asks for what lies a little behind block b. Loads as long as a line, half of which cross one,
// take 2 to 6 % more from memory so; shorter ones took up to 10 % less, and asking twice as far
// ahead took less too.
template <class V, size_t kBlockBytes, class Unpacked>
[[gnu::always_inline]] inline void FetchBehind(const Direct<kBlockBytes, Unpacked>& source,
                                               int64_t b) {
  constexpr size_t kDistance = 1024;
  constexpr size_t kBytes = kStripeRows * kBlockBytes;
  if constexpr (V::kLanes == kStripeRows) {
    PrefetchBytes(source.at.p + static_cast<size_t>(b) * kBytes + kDistance, kBytes);
  }
}
template <class V, class Packed>
[[gnu::always_inline]] inline void FetchBehind(const Packed* /*unpacked*/, int64_t /*b*/) {}

// Each family has: the elements and bytes of a block; the columns of a chunk; Packed, a block
// unpacked; Pack, which asks for the memory at `ahead`, unless that is null, while it unpacks; and
// Run, which adds n blocks to the accumulators of NT tokens for P panels, where `source[p][b]`
// gives a block, unpacked there and then (Direct) or before (const Packed*).

template <class V, class Codec>
struct Family32 {
  static constexpr bool kStripes = true;
  static constexpr int64_t kElements = 32;
  static constexpr size_t kBytes = Codec::kBytes;
  static constexpr int64_t kChunk = 1024;
  struct Packed : PanelBlock32<V, Codec::kHasMin> {
    Packed() = default;
    [[gnu::always_inline]] explicit Packed(StripesAt at) { Codec::Load(at, *this); }
  };
  using Source = Direct<kBytes, Packed>;

  static const std::byte* Advance(const std::byte* tile, int nt, int64_t n_block) {
    return tile + static_cast<size_t>(n_block) * Record32{nt}.bytes();
  }

  template <class At>
  static void Pack(At at, int64_t n_block, const uint8_t* ahead, Packed* packed) {
    constexpr size_t kPanelBytes = V::kLanes * kBytes;
    for (int64_t b = 0; b < n_block; ++b) {
      if (ahead != nullptr)
        PrefetchBytes(ahead + static_cast<size_t>(b) * kPanelBytes, kPanelBytes);
      Codec::Load(at + static_cast<size_t>(b) * kBytes, packed[b]);
    }
  }

  template <int NT, int P, class From>
  static void Run(const From (&source)[P], int64_t n_block, const std::byte* tile,
                  typename V::F (&acc)[P][NT]) {
    constexpr Record32 kRecord{NT};
    for (int64_t b = 0; b < n_block; ++b, tile += kRecord.bytes()) {
      FetchBehind<V>(source[0], b);
#pragma GCC unroll 2
      for (int p = 0; p < P; ++p) AddBlock<NT>(source[p][b], tile, acc[p]);
    }
  }

 private:
  template <int NT>
  [[gnu::always_inline]] static void AddBlock(const Packed& block, const std::byte* tile,
                                              typename V::F (&acc)[NT]) {
    constexpr Record32 kRecord{NT};
#pragma GCC unroll 8
    for (int t = 0; t < NT; ++t) {
      auto sum = V::Zero();
      if constexpr (Codec::kOffsetShift != 0) {
        sum = V::template Shl<Codec::kOffsetShift>(V::Broadcast(tile + kRecord.NegativeSum(t)));
      }
      sum = V::template Dot<Codec::kMaxCode, 8>(sum, block.code, tile + kRecord.Q(t));
      const auto scale = V::Mul(block.d, V::BroadcastFloat(tile + kRecord.D(t)));
      acc[t] = V::Fma(scale, V::ToFloat(sum), acc[t]);
      if constexpr (Codec::kHasMin) {
        acc[t] = V::Fma(block.m, V::BroadcastFloat(tile + kRecord.S(t)), acc[t]);
      }
    }
  }
};

template <class V, class Codec>
struct Family256 {
  static constexpr bool kStripes = true;
  static constexpr int64_t kElements = 256;
  static constexpr size_t kBytes = Codec::kBytes;
  static constexpr int64_t kChunk = 1024;
  static constexpr int kRunsOf32 = 32 / Codec::kRun;
  using Header = typename Codec::Header;
  struct Packed {
    Header header;
    PanelPair<V> pair[4];
    const PanelPair<V>& Pair(int p) const { return pair[p]; }
    template <int kParts>
    void PrefetchPart(int) const {}
  };
  struct Unpacked {
    Header header;
    mutable typename Codec::template Reader<StripesAt> reader;
    const uint8_t* ahead;  // two blocks
    explicit Unpacked(StripesAt at) : reader(at), ahead(at.p + 2 * kStripeRows * kBytes) {
      header.Load(at);
    }
    [[gnu::always_inline]] PanelPair<V> Pair(int p) const { return reader(p); }
    template <int kParts>
    [[gnu::always_inline]] void PrefetchPart(int part) const {
      if constexpr (!Codec::kFrontToBack) {  // the machine does not see what comes next
        constexpr size_t kPart = kStripeRows * kBytes / kParts;
        PrefetchBytes(ahead + static_cast<size_t>(part) * kPart, kPart);
      }
    }
  };
  using Source = Direct<kBytes, Unpacked>;

  static const std::byte* Advance(const std::byte* tile, int nt, int64_t n_block) {
    return tile + static_cast<size_t>(n_block) * Record256{nt}.bytes();
  }

  template <class At>
  static void Pack(At at, int64_t n_block, const uint8_t* ahead, Packed* packed) {
    constexpr size_t kPanelBytes = V::kLanes * kBytes;
    for (int64_t b = 0; b < n_block; ++b) {
      if (ahead != nullptr)
        PrefetchBytes(ahead + static_cast<size_t>(b) * kPanelBytes, kPanelBytes);
      const At block = at + static_cast<size_t>(b) * kBytes;
      packed[b].header.Load(block);
      typename Codec::template Reader<At> reader(block);
      for (int p = 0; p < 4; ++p) packed[b].pair[p] = reader(p);
    }
  }

  template <int NT, int P, class From>
  static void Run(const From (&source)[P], int64_t n_block, const std::byte* tile,
                  typename V::F (&acc)[P][NT]) {
    constexpr Record256 kRecord{NT};
    for (int64_t b = 0; b < n_block; ++b, tile += kRecord.bytes()) {
      for (int p = 0; p < P; ++p) {
        if constexpr (P > 1) LoadAfresh();
        const auto& block = source[p][b];
        typename V::I sum[NT];
        AddPairs<NT, P>(block, p, tile, sum);
        AddBlock<NT>(block.header, sum, tile, acc[p]);
      }
    }
  }

 private:
  template <int NT, int P, class Block>
  [[gnu::always_inline]] static void AddPairs(const Block& block, int panel, const std::byte* tile,
                                              typename V::I (&sum)[NT]) {
    for (auto& s : sum) s = V::Zero();
#pragma GCC unroll 4
    for (int p = 0; p < 4; ++p) {
      block.template PrefetchPart<4 * P>(4 * panel + p);
      const auto& pair = block.Pair(p);
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
        const int run = Codec::Run(p, half);
        AddRun<NT>(block.header.scale + run * kRunsOf32, pair.code + 8 * half, tile + 32 * run,
                   sum);
      }
    }
  }

  // Adds scale * (codes . q) over 32 columns.
  template <int NT>
  static void AddRun(const typename V::I* scale, const typename V::I* code, const std::byte* q,
                     typename V::I (&sum)[NT]) {
    constexpr Record256 kRecord{NT};
    constexpr int kVectors = Codec::kRun / 4;
#pragma GCC unroll 8
    for (int t = 0; t < NT; ++t) {
#pragma GCC unroll 2
      for (int i = 0; i < kRunsOf32; ++i) {
        sum[t] = V::template ScaledDot<Codec::kMaxCode, kVectors>(
            sum[t], scale[i], code + kVectors * i, q + kRecord.Q(t) + Codec::kRun * i);
      }
    }
  }

  template <int NT>
  static void AddBlock(const RangeHeader<V>& header, const typename V::I (&sum)[NT],
                       const std::byte* tile, typename V::F (&acc)[NT]) {
    constexpr Record256 kRecord{NT};
#pragma GCC unroll 8
    for (int t = 0; t < NT; ++t) {
      auto min_sum = V::Zero();
      for (int i = 0; i < 4; ++i) {
        min_sum = V::DotPairs(min_sum, header.pairs[i], tile + kRecord.Sum32(t) + 4 * i);
      }
      const auto d = V::BroadcastFloat(tile + kRecord.D(t));
      acc[t] = V::Fma(V::Mul(header.d, d), V::ToFloat(sum[t]), acc[t]);
      acc[t] = V::FmaNegated(V::Mul(header.dmin, d), V::ToFloat(min_sum), acc[t]);
    }
  }

  template <int NT>
  static void AddBlock(const SymmetricHeader<V>& header, const typename V::I (&sum)[NT],
                       const std::byte* tile, typename V::F (&acc)[NT]) {
    constexpr Record256 kRecord{NT};
#pragma GCC unroll 8
    for (int t = 0; t < NT; ++t) {
      auto offset = V::Zero();
      for (int i = 0; i < 8; ++i) {
        offset = V::DotPairs(offset, header.pairs[i], tile + kRecord.Sum16(t) + 4 * i);
      }
      const auto total = V::Sub(sum[t], V::template Shl<5>(offset));
      const auto d = V::BroadcastFloat(tile + kRecord.D(t));
      acc[t] = V::Fma(V::Mul(header.d, d), V::ToFloat(total), acc[t]);
    }
  }
};

// Floats: a block is one column.
template <class V, class Float>
struct FamilyFloat {
  static constexpr bool kStripes = false;
  static constexpr int64_t kElements = 1;
  static constexpr size_t kBytes = Float::kBytes;
  static constexpr int64_t kChunk = 256;
  static constexpr int64_t kStep = Float::kStep;  // columns that one transposition gives
  using Packed = typename V::F;
  struct Source {
    PanelAt at;
  };

  static const std::byte* Advance(const std::byte* tile, int nt, int64_t n_block) {
    return tile + n_block * nt * static_cast<int64_t>(sizeof(float));
  }

  static void Pack(PanelAt at, int64_t n, const uint8_t*, Packed* packed) {
    int64_t k = 0;
    for (; k + kStep <= n; k += kStep) {
      Float::LoadColumns(at + k * kBytes,
                         [&](int i, typename V::F column) { packed[k + i] = column; });
    }
    for (; k < n; ++k) packed[k] = Float::LoadColumn(at + k * kBytes);
  }

  template <int NT>
  static void Run(const Source (&source)[1], int64_t n, const std::byte* tile,
                  typename V::F (&acc)[1][NT]) {
    constexpr size_t kTileColumn = NT * sizeof(float);
    const PanelAt at = source[0].at;
    int64_t k = 0;
    for (; k + kStep <= n; k += kStep, tile += kStep * kTileColumn) {
      PrefetchBytes(NextPanel<V>(at, k, kBytes), V::kLanes * kStep * kBytes);
      Float::LoadColumns(at + k * kBytes, [&](int i, typename V::F column) {
        AddColumn(column, tile + static_cast<size_t>(i) * kTileColumn, acc[0]);
      });
    }
    for (; k < n; ++k, tile += kTileColumn) {
      AddColumn(Float::LoadColumn(at + k * kBytes), tile, acc[0]);
    }
  }

  template <int NT>
  static void Run(const Packed* const (&packed)[1], int64_t n, const std::byte* tile,
                  typename V::F (&acc)[1][NT]) {
    for (int64_t k = 0; k < n; ++k, tile += NT * sizeof(float)) {
      AddColumn(packed[0][k], tile, acc[0]);
    }
  }

 private:
  template <int NT>
  static void AddColumn(typename V::F column, const std::byte* x, typename V::F (&acc)[NT]) {
#pragma GCC unroll 8
    for (int t = 0; t < NT; ++t) {
      acc[t] =
          V::Fma(column, V::BroadcastFloat(x + sizeof(float) * static_cast<size_t>(t)), acc[t]);
    }
  }
};

// --- driver
// ----------------------------------------------------------------------------------------

// Where the results of a panel go for one tile.
struct PanelOut {
  float* y;
  int64_t stride;
  int rows;
  bool resume;  // start from what y holds
};

// P panels, one after the other in y.
template <class V, class Family, int NT, int P, class From>
void RunTile(const From (&source)[P], int64_t n_block, const std::byte* tile, PanelOut out) {
  typename V::F acc[P][NT];
  const auto y = [&](int p, int t) { return out.y + t * out.stride + p * V::kLanes; };
  for (int p = 0; p < P; ++p) {
    for (int t = 0; t < NT; ++t) {
      acc[p][t] = out.resume ? V::LoadRows(y(p, t), out.rows) : V::ZeroFloat();
    }
  }
  Family::template Run<NT>(source, n_block, tile, acc);
  for (int p = 0; p < P; ++p) {
    for (int t = 0; t < NT; ++t) V::StoreRows(y(p, t), out.rows, acc[p][t]);
  }
}

// RunTile for nt tokens, one of NT + 1.
template <class V, class Family, int P, class From, int... NT>
void RunTileOf(int nt, const From (&source)[P], int64_t n_block, const std::byte* tile,
               PanelOut out, std::integer_sequence<int, NT...>) {
  using Run = void (*)(const From(&)[P], int64_t, const std::byte*, PanelOut);
  static constexpr Run kTable[] = {RunTile<V, Family, NT + 1, P, From>...};
  kTable[nt - 1](source, n_block, tile, out);
}

template <class V, class Family>
class PanelProduct {
 public:
  PanelProduct(const MatMulCall& call, int64_t token_begin, int64_t token_end)
      : call_(call), token_begin_(token_begin), token_end_(token_end) {}

  void Rows(int64_t row_begin, int64_t row_end) {
    int64_t row = row_begin;
    if constexpr (Family::kStripes && V::kLanes < kStripeRows) {
      if (call_.w.striped && token_end_ - token_begin_ <= kTogether) {
        for (; row + kStripeRows <= row_end; row += kStripeRows) Stripe(row);
      }
    }
    for (; row < row_end; row += V::kLanes) {
      Panel(row, static_cast<int>(std::min<int64_t>(V::kLanes, row_end - row)));
    }
  }

 private:
  // Up to how many tokens the panels of a stripe advance together; the accumulators of more would
  // not stay in registers.
  static constexpr int kTogether = 4;
  static constexpr int64_t kChunkBlocks = Family::kChunk / Family::kElements;

  // A whole stripe, for up to kTogether tokens. Its panels advance together: each line of memory is
  // fetched once, while others are computed on. One after the other, the first would wait for all
  // of the memory, and the second for none.
  void Stripe(int64_t row) {
    constexpr int kPanels = kStripeRows / V::kLanes;
    typename Family::Source panels[kPanels];
    for (int p = 0; p < kPanels; ++p) panels[p] = {Stripes(row + p * V::kLanes)};
    Tiles(panels, row, V::kLanes, 0, call_.w.cols / Family::kElements);
  }

  void Panel(int64_t row, int n_row) {
    const bool one_tile = token_end_ - token_begin_ <= kTokenTile;
    const int64_t n_block = call_.w.cols / Family::kElements;
    if constexpr (Family::kStripes) {
      if (call_.w.striped && row < call_.w.rows / kStripeRows * kStripeRows) {
        const StripesAt at = Stripes(row);
        if (one_tile) return Tiles<1, typename Family::Source>({{at}}, row, n_row, 0, n_block);
        return Chunks(row, n_row, [&](int64_t b, int64_t) {
          return at + static_cast<size_t>(b) * Family::kBytes;
        });
      }
    } else if (one_tile && n_row == V::kLanes) {
      return Tiles<1, typename Family::Source>({{At(row, n_row, 0, n_block)}}, row, n_row, 0,
                                               n_block);
    }
    Chunks(row, n_row, [&](int64_t b, int64_t n) { return At(row, n_row, b, n); });
  }

  // A panel through scratch; where(b, n) is where n blocks from b on lie.
  template <class Where>
  void Chunks(int64_t row, int n_row, const Where& where) {
    const int64_t n_block = call_.w.cols / Family::kElements;
    const PanelAt panel{reinterpret_cast<const uint8_t*>(call_.w.data) +
                            static_cast<size_t>(row) * call_.w.row_bytes,
                        call_.w.row_bytes};
    // Many tokens stay with a panel for so long that the next one would be in their way.
    const bool hurry = !call_.w.striped && token_end_ - token_begin_ <= kTokenTile;
    for (int64_t b = 0; b < n_block; b += kChunkBlocks) {
      const int64_t n = std::min(kChunkBlocks, n_block - b);
      Family::Pack(where(b, n), n, hurry ? NextPanel<V>(panel, b, Family::kBytes) : nullptr,
                   packed_);
      Tiles<1, const typename Family::Packed*>({packed_}, row, n_row, b, n);
    }
  }

  StripesAt Stripes(int64_t row) const {
    const int64_t lane = row % kStripeRows;
    return {reinterpret_cast<const uint8_t*>(call_.w.data) +
                static_cast<size_t>(row - lane) * call_.w.row_bytes,
            static_cast<size_t>(lane)};
  }

  // Adds blocks [b, b + n_block) of the panels to the results of every token.
  template <int P, class From>
  void Tiles(const From (&source)[P], int64_t row, int n_row, int64_t b, int64_t n_block) {
    constexpr int kMost = P == 1 ? kTokenTile : kTogether;
    for (int64_t t0 = token_begin_; t0 < token_end_; t0 += kTokenTile) {
      const int nt = call_.TileTokens(t0);
      const std::byte* tile = Family::Advance(call_.Tile(t0), nt, b);
      RunTileOf<V, Family>(nt, source, n_block, tile, Out(row, n_row, t0, b),
                           std::make_integer_sequence<int, kMost>());
    }
  }

  PanelOut Out(int64_t row, int n_row, int64_t token, int64_t b) const {
    return {call_.y + token * call_.y_stride + row, call_.y_stride, n_row, b > 0};
  }

  // A panel that hangs over the last row is copied, so that its idle lanes read memory of our own.
  PanelAt At(int64_t row, int n_row, int64_t b, int64_t n_block) {
    const std::byte* first = call_.w.data + static_cast<size_t>(row) * call_.w.row_bytes +
                             static_cast<size_t>(b) * Family::kBytes;
    if (n_row == V::kLanes) return {reinterpret_cast<const uint8_t*>(first), call_.w.row_bytes};
    const size_t bytes = static_cast<size_t>(n_block) * Family::kBytes;
    std::memset(tail_, 0, sizeof(tail_));
    for (int r = 0; r < n_row; ++r) {
      std::memcpy(tail_ + static_cast<size_t>(r) * kTailStride,
                  first + static_cast<size_t>(r) * call_.w.row_bytes, bytes);
    }
    return {tail_, kTailStride};
  }

  static constexpr size_t kTailStride = static_cast<size_t>(kChunkBlocks) * Family::kBytes;

  const MatMulCall& call_;
  const int64_t token_begin_;
  const int64_t token_end_;
  typename Family::Packed packed_[kChunkBlocks];
  uint8_t tail_[kTailStride * V::kLanes];
};

template <class V, class Family>
void PanelRows(const MatMulCall& call, int64_t row_begin, int64_t row_end, int64_t token_begin,
               int64_t token_end) {
  PanelProduct<V, Family>(call, token_begin, token_end).Rows(row_begin, row_end);
}

template <class V>
void RowsOf(const MatMulCall& call, int64_t row_begin, int64_t row_end, int64_t token_begin,
            int64_t token_end) {
  const auto run = [&](auto rows) { rows(call, row_begin, row_end, token_begin, token_end); };
  switch (call.w.type) {
    case TensorType::kF32: return run(PanelRows<V, FamilyFloat<V, typename V::F32>>);
    case TensorType::kF16: return run(PanelRows<V, FamilyFloat<V, typename V::F16>>);
    case TensorType::kBF16: return run(PanelRows<V, FamilyFloat<V, typename V::BF16>>);
    case TensorType::kQ8_0: return run(PanelRows<V, Family32<V, PanelQ8_0<V>>>);
    case TensorType::kQ4_0: return run(PanelRows<V, Family32<V, PanelQ4_0<V>>>);
    case TensorType::kQ4_1: return run(PanelRows<V, Family32<V, PanelQ4_1<V>>>);
    case TensorType::kQ5_0: return run(PanelRows<V, Family32<V, PanelQ5_0<V>>>);
    case TensorType::kQ5_1: return run(PanelRows<V, Family32<V, PanelQ5_1<V>>>);
    case TensorType::kQ4_K: return run(PanelRows<V, Family256<V, PanelQ4_K<V>>>);
    case TensorType::kQ5_K: return run(PanelRows<V, Family256<V, PanelQ5_K<V>>>);
    case TensorType::kQ6_K: return run(PanelRows<V, Family256<V, PanelQ6_K<V>>>);
  }
}

}  // namespace
}  // namespace kvasir
