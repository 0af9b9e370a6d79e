// The keys of a list tile by tile, for who reads keys without attending to them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "kvasir/cache/segment_list.h"

namespace kvasir {

// Consecutive tiles of one segment. All are full, save where there is one only: slots that no token
// fills are then zero.
struct KeyTiles {
  int64_t first = 0;  // index of the first token in the list
  int n_tile = 0;     // <= TileRun::kMaxTiles
  int n_token = 0;
  TileFormat format = TileFormat::kF32;
  const void* const* tiles = nullptr;
  const float* bias = nullptr;  // (n_token) base-2; null = none
};

// Tiles that hold the tokens of a list.
inline int64_t CountTiles(const SegmentList& list) {
  const auto tiles = [](const Segment& segment) {
    return (segment.n_kv() + kTileTokens - 1) / kTileTokens;
  };
  int64_t n = tiles(list.tail());
  for (const auto& segment : list.sealed()) n += tiles(*segment);
  return n;
}

// A copy of a tile's first n tokens, with zeros in the other slots.
//   copy  (head_dim, 16)
inline void CopyKeys(TileFormat format, const void* tile, int n, std::span<float> copy) {
  if (format == TileFormat::kF16) {
    ActiveAttendKernels().unpack_f16(static_cast<const uint16_t*>(tile), copy.data(),
                                     static_cast<int64_t>(copy.size()));
  } else {
    std::copy_n(static_cast<const float*>(tile), copy.size(), copy.data());
  }
  for (size_t at = 0; at < copy.size(); at += kTileTokens) {
    std::fill_n(copy.begin() + static_cast<int64_t>(at) + n, kTileTokens - n, 0.0f);
  }
}

// Status visit(const KeyTiles&) for the first `end` tokens of a list, in order.
//   partial  (head_dim * 16) working memory
// Errors: of Segment::LoadTiles and `visit`.
template <typename Visit>
Status ForKeyTiles(const SegmentList& list, int64_t end, AttendScratch& scratch,
                   std::span<float> partial, const Visit& visit) {
  int64_t base = 0;
  const auto visit_segment = [&](const Segment& segment) -> Status {
    const int64_t n = std::min(segment.n_kv(), end - base);
    const int64_t most = segment.tiles_in_place() ? TileRun::kMaxTiles : 4;
    for (int64_t at = 0; at < n;) {
      const int64_t n_full = std::min((n - at) / kTileTokens, most);
      const int n_tile = static_cast<int>(std::max<int64_t>(n_full, 1));
      TileRun run;
      KVASIR_RETURN_IF_ERROR(segment.LoadTiles(at / kTileTokens, n_tile, scratch, &run));
      KeyTiles tiles;
      tiles.first = base + at;
      tiles.n_tile = n_tile;
      tiles.n_token = static_cast<int>(std::min<int64_t>(n - at, n_tile * kTileTokens));
      tiles.format = run.k_format;
      tiles.tiles = run.k;
      tiles.bias = segment.bias() == nullptr ? nullptr : segment.bias() + at;
      if (n_full == 0) {
        CopyKeys(run.k_format, run.k[0], tiles.n_token, partial);
        tiles.format = TileFormat::kF32;
        run.k[0] = partial.data();
      }
      KVASIR_RETURN_IF_ERROR(visit(tiles));
      at += tiles.n_token;
    }
    base += segment.n_kv();
    return Status::Ok();
  };
  for (const auto& segment : list.sealed()) {
    if (base >= end) return Status::Ok();
    KVASIR_RETURN_IF_ERROR(visit_segment(*segment));
  }
  return base >= end ? Status::Ok() : visit_segment(list.tail());
}

}  // namespace kvasir
