// kv_unpack.h over a vector type V of 16 floats and a reader C of 16 codes. Included only by
// kv_unpack_avx2.cc and kv_unpack_avx512.cc.
#pragma once

#include "kvasir/kernels/kv_unpack.h"

namespace kvasir {
namespace {

template <typename V, typename C>
struct KvUnpackSimd {
  using Reg = typename V::Reg;

  // kRow: scale and offset belong to the row; else to the lane.
  template <bool kRow, typename Read>
  static void Rows(const KvStrips& strips, const float* scale, const float* offset, Read read) {
    const int strip_bytes = StripBytes(strips.bits);
    Reg s = V::Zero(), o = V::Zero();
    if constexpr (!kRow) {
      s = V::Load(scale);
      o = V::Load(offset);
    }
    for (int r = 0; r < strips.n_row; ++r) {
      if constexpr (kRow) {
        s = V::Set1(scale[r]);
        o = V::Set1(offset[r]);
      }
      V::Store(strips.dst + r * strips.stride, V::Fma(read(strips.codes + r * strip_bytes), s, o));
    }
  }

  template <bool kRow, int kBits>
  static void Width(const KvStrips& strips, const float* scale, const float* offset) {
    if constexpr (kBits <= 4) {
      if (strips.kind == CodeKind::kTable) {
        const typename C::Table table = C::LoadTable(strips.table);
        Rows<kRow>(strips, scale, offset, [&](const uint8_t* strip) {
          return C::Lookup(table, C::template Read<kBits>(strip));
        });
        return;
      }
    }
    Rows<kRow>(strips, scale, offset,
               [](const uint8_t* strip) { return C::ToFloat(C::template Read<kBits>(strip)); });
  }

  template <bool kRow>
  static void Unpack(const KvStrips& strips, const float* scale, const float* offset) {
    if (strips.kind == CodeKind::kE4m3) {
      return Rows<kRow>(strips, scale, offset, [](const uint8_t* strip) { return C::E4m3(strip); });
    }
    switch (strips.bits) {
      case 1: return Width<kRow, 1>(strips, scale, offset);
      case 2: return Width<kRow, 2>(strips, scale, offset);
      case 3: return Width<kRow, 3>(strips, scale, offset);
      case 4: return Width<kRow, 4>(strips, scale, offset);
      case 5: return Width<kRow, 5>(strips, scale, offset);
      case 6: return Width<kRow, 6>(strips, scale, offset);
      case 7: return Width<kRow, 7>(strips, scale, offset);
      default: return Width<kRow, 8>(strips, scale, offset);
    }
  }

  static constexpr KvUnpackKernels Table() {
    return {.by_row = Unpack<true>, .by_lane = Unpack<false>};
  }
};

template <typename T>
T LoadWord(const uint8_t* p) {
  T word;
  __builtin_memcpy(&word, p, sizeof(word));
  return word;
}

}  // namespace
}  // namespace kvasir
