// Weight formats as panels: V::kLanes rows side by side, one row a lane. A codec brings one block
// of every row of a panel into registers, each dword holding four consecutive codes of its row, so
// that products with broadcast activations need no sum across lanes. V is the vector class of one
// instruction set; like everything compiled for one, this has internal linkage.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kvasir/kernels/tensor_type.h"

namespace kvasir {
namespace {

// Where a panel's block lies: row r starts r * stride bytes after the first.
struct PanelAt {
  const uint8_t* p;
  size_t stride;
  PanelAt operator+(size_t bytes) const { return {p + bytes, stride}; }
};

// The same in stripes (weight_stripes.h), for the rows from `lane` of the run on.
struct StripesAt {
  const uint8_t* p;
  size_t lane;
  StripesAt operator+(size_t bytes) const { return {p + 16 * bytes, lane}; }
};

// The 16 bytes at `at` of every row hold 32 nibbles.
template <class V, class At>
[[gnu::always_inline]] inline void LoadNibbles(At at, typename V::I* code) {
  typename V::I raw[4];
  V::LoadTransposed(at, raw);
  for (int i = 0; i < 4; ++i) {
    code[i] = V::And(raw[i], 0x0f0f0f0f);
    code[4 + i] = V::And(V::template Shr<4>(raw[i]), 0x0f0f0f0f);
  }
}

template <class V, class At>
[[gnu::always_inline]] inline void LoadTransposed32(At at, typename V::I* out) {
  V::LoadTransposed(at, out);
  V::LoadTransposed(at + 16, out + 4);
}

// --- blocks of 32 --------------------------------------------------------------------------------

template <class V, bool kHasMin>
struct PanelBlock32 {
  typename V::I code[8];
  typename V::F d;
};
template <class V>
struct PanelBlock32<V, true> {
  typename V::I code[8];
  typename V::F d;
  typename V::F m;
};

// kOffsetShift: log2 of what to take off each code; 0 for none.
template <class V>
struct PanelQ8_0 {
  static constexpr size_t kBytes = 34;
  static constexpr bool kHasMin = false;
  static constexpr int kMaxCode = 255;  // where codes stay signed, their magnitude is up to 128
  static constexpr int kOffsetShift = V::kSignedBytes ? 0 : 7;
  template <class At>
  [[gnu::always_inline]] static void Load(At at, PanelBlock32<V, false>& block) {
    block.d = V::LoadHalf(at);
    LoadTransposed32<V>(at + 2, block.code);
    if constexpr (!V::kSignedBytes) {
      for (auto& code : block.code) code = V::Xor(code, 0x80808080);
    }
  }
};

template <class V>
struct PanelQ4_0 {
  static constexpr size_t kBytes = 18;
  static constexpr bool kHasMin = false;
  static constexpr int kMaxCode = 15;
  static constexpr int kOffsetShift = 3;
  template <class At>
  [[gnu::always_inline]] static void Load(At at, PanelBlock32<V, false>& block) {
    block.d = V::LoadHalf(at);
    LoadNibbles<V>(at + 2, block.code);
  }
};

template <class V>
struct PanelQ4_1 {
  static constexpr size_t kBytes = 20;
  static constexpr bool kHasMin = true;
  static constexpr int kMaxCode = 15;
  static constexpr int kOffsetShift = 0;
  template <class At>
  [[gnu::always_inline]] static void Load(At at, PanelBlock32<V, true>& block) {
    const auto header = V::LoadDword(at);
    block.d = V::LowHalf(header);
    block.m = V::HighHalf(header);
    LoadNibbles<V>(at + 4, block.code);
  }
};

// Bits 4 * i .. 4 * i + 3 of each dword of `high` are bit 4 of the four bytes of code[i].
template <class V>
[[gnu::always_inline]] inline void AddFifthBits(typename V::I high, typename V::I* code) {
  for (int i = 0; i < 8; ++i) {
    code[i] = V::Or(code[i], V::SpreadToFifthBits(high));
    high = V::template Shr<4>(high);
  }
}

template <class V>
struct PanelQ5_0 {
  static constexpr size_t kBytes = 22;
  static constexpr bool kHasMin = false;
  static constexpr int kMaxCode = 31;
  static constexpr int kOffsetShift = 4;
  template <class At>
  [[gnu::always_inline]] static void Load(At at, PanelBlock32<V, false>& block) {
    block.d = V::LoadHalf(at);
    LoadNibbles<V>(at + 6, block.code);
    AddFifthBits<V>(V::LoadDword(at + 2), block.code);
  }
};

template <class V>
struct PanelQ5_1 {
  static constexpr size_t kBytes = 24;
  static constexpr bool kHasMin = true;
  static constexpr int kMaxCode = 31;
  static constexpr int kOffsetShift = 0;
  template <class At>
  [[gnu::always_inline]] static void Load(At at, PanelBlock32<V, true>& block) {
    const auto header = V::LoadDword(at);
    block.d = V::LowHalf(header);
    block.m = V::HighHalf(header);
    LoadNibbles<V>(at + 8, block.code);
    AddFifthBits<V>(V::LoadDword(at + 4), block.code);
  }
};

// --- super-blocks of 256 -------------------------------------------------------------------------

// V::ScaleOf<i> makes byte i of every dword a scale as V::ScaledDot takes it, V::PairOf<i> bytes i
// and i + 1 two int16.

// Codes of two runs of 32 that share bytes.
template <class V>
struct PanelPair {
  typename V::I code[16];
};

// Q4_K and Q5_K: eight runs of 32, each with a scale; pairs[i] holds the mins of runs 2i and 2i + 1
// as int16.
template <class V>
struct RangeHeader {
  typename V::F d;
  typename V::F dmin;
  typename V::I scale[8];
  typename V::I pairs[4];

  template <class At>
  void Load(At at) {
    typename V::I raw[4];
    V::LoadTransposed(at, raw);
    d = V::LowHalf(raw[0]);
    dmin = V::HighHalf(raw[0]);
    const auto top = [](typename V::I x) { return V::And(V::template Shr<2>(x), 0x30303030); };
    const auto scale0 = V::And(raw[1], 0x3f3f3f3f);
    const auto scale4 = V::Or(V::And(raw[3], 0x0f0f0f0f), top(raw[1]));
    const auto min0 = V::And(raw[2], 0x3f3f3f3f);
    const auto min4 = V::Or(V::And(V::template Shr<4>(raw[3]), 0x0f0f0f0f), top(raw[2]));
    Spread(scale0, scale);
    Spread(scale4, scale + 4);
    Pair(min0, pairs);
    Pair(min4, pairs + 2);
  }

 private:
  static void Spread(typename V::I bytes, typename V::I* out) {
    out[0] = V::template ScaleOf<0>(bytes);
    out[1] = V::template ScaleOf<1>(bytes);
    out[2] = V::template ScaleOf<2>(bytes);
    out[3] = V::template ScaleOf<3>(bytes);
  }
  static void Pair(typename V::I bytes, typename V::I* out) {
    out[0] = V::template PairOf<0>(bytes);
    out[1] = V::template PairOf<2>(bytes);
  }
};

// Q6_K: sixteen runs of 16; pairs[i] holds the scales of runs 2i and 2i + 1 as int16.
template <class V>
struct SymmetricHeader {
  typename V::F d;
  typename V::I scale[16];
  typename V::I pairs[8];

  template <class At>
  void Load(At at) {
    d = V::LoadHalf(at + 208);
    typename V::I raw[4];
    V::LoadTransposed(at + 192, raw);
    for (int i = 0; i < 4; ++i) {
      scale[4 * i] = V::template SignedScaleOf<0>(raw[i]);
      scale[4 * i + 1] = V::template SignedScaleOf<1>(raw[i]);
      scale[4 * i + 2] = V::template SignedScaleOf<2>(raw[i]);
      scale[4 * i + 3] = V::template SignedScaleOf<3>(raw[i]);
      pairs[2 * i] = V::template SignedPairOf<0>(raw[i]);
      pairs[2 * i + 1] = V::template SignedPairOf<2>(raw[i]);
    }
  }
};

template <class V>
struct PanelQ4_K {
  using Header = RangeHeader<V>;
  static constexpr size_t kBytes = 144;
  static constexpr int kRun = 32;
  static constexpr bool kFrontToBack = true;  // how blocks in stripes are read
  static constexpr int kMaxCode = 15;
  // The runs of 32 that pair `p` holds.
  static constexpr int Run(int p, int half) { return 2 * p + half; }

  // Gives the pairs of one super-block, which must stay readable.
  template <class At>
  struct Reader {
    At at;
    explicit Reader(At block) : at(block) {}
    [[gnu::always_inline]] PanelPair<V> operator()(int p) const {
      PanelPair<V> pair;
      typename V::I raw[8];
      LoadTransposed32<V>(at + 16 + 32 * static_cast<size_t>(p), raw);
      for (int i = 0; i < 8; ++i) {
        pair.code[i] = V::And(raw[i], 0x0f0f0f0f);
        pair.code[8 + i] = V::And(V::template Shr<4>(raw[i]), 0x0f0f0f0f);
      }
      return pair;
    }
  };
};

template <class V>
struct PanelQ5_K {
  using Header = RangeHeader<V>;
  static constexpr size_t kBytes = 176;
  static constexpr int kRun = 32;
  // Fifth bits and low bits are two streams, of which narrow panels take half a line at a time: the
  // machine follows neither.
  static constexpr bool kFrontToBack = V::kLanes == 16;
  static constexpr int kMaxCode = 31;
  static constexpr int Run(int p, int half) { return 2 * p + half; }

  template <class At>
  struct Reader {
    At at;
    typename V::I high[8];
    explicit Reader(At block) : at(block) { LoadTransposed32<V>(block + 16, high); }
    // Pairs must be asked for in order: each takes two bits off `high`.
    [[gnu::always_inline]] PanelPair<V> operator()(int p) {
      PanelPair<V> pair;
      typename V::I raw[8];
      LoadTransposed32<V>(at + 48 + 32 * static_cast<size_t>(p), raw);
      for (int i = 0; i < 8; ++i) {
        const auto low_bit = V::And(V::template Shl<4>(high[i]), 0x10101010);
        const auto high_bit = V::And(V::template Shl<3>(high[i]), 0x10101010);
        pair.code[i] = V::Or(V::And(raw[i], 0x0f0f0f0f), low_bit);
        pair.code[8 + i] = V::Or(V::And(V::template Shr<4>(raw[i]), 0x0f0f0f0f), high_bit);
        high[i] = V::template Shr<2>(high[i]);
      }
      return pair;
    }
  };
};

template <class V>
struct PanelQ6_K {
  using Header = SymmetricHeader<V>;
  static constexpr size_t kBytes = 210;
  static constexpr int kRun = 16;
  static constexpr bool kFrontToBack = false;  // how blocks in stripes are read
  static constexpr int kMaxCode = 63;
  static constexpr int Run(int p, int half) { return 4 * (p / 2) + p % 2 + 2 * half; }

  template <class At>
  struct Reader {
    At at;
    typename V::I high[8];
    explicit Reader(At block) : at(block) { LoadTransposed32<V>(at + 128, high); }
    // Pairs must be asked for in order: each takes two bits off `high`, which serves two of them.
    [[gnu::always_inline]] PanelPair<V> operator()(int p) {
      if (p == 2) LoadTransposed32<V>(at + 160, high);
      PanelPair<V> pair;
      typename V::I raw[8];
      LoadTransposed32<V>(at + 32 * static_cast<size_t>(p), raw);
      for (int i = 0; i < 8; ++i) {
        const auto low_bits = V::And(V::template Shl<4>(high[i]), 0x30303030);
        const auto high_bits = V::And(high[i], 0x30303030);
        pair.code[i] = V::Or(V::And(raw[i], 0x0f0f0f0f), low_bits);
        pair.code[8 + i] = V::Or(V::And(V::template Shr<4>(raw[i]), 0x0f0f0f0f), high_bits);
        high[i] = V::template Shr<2>(high[i]);
      }
      return pair;
    }
  };
};

}  // namespace
}  // namespace kvasir
