// Dense tokens: the sealed segment of f32 or f16 tiles, and the tail that grows.
#pragma once

#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "kvasir/cache/segment.h"
#include "kvasir/core/slab_arena.h"

namespace kvasir {

// How dense tokens of one (layer, kv head) are stored. K and V choose their formats independently.
struct DenseLayout {
  int head_dim = 0;
  TileFormat k_format = TileFormat::kF16;
  TileFormat v_format = TileFormat::kF16;

  int64_t k_bytes() const { return KTileBytes(k_format, head_dim); }
  int64_t tile_bytes() const { return k_bytes() + VTileBytes(v_format, head_dim); }
};

// Tiles in order, each shared with whoever else holds it.
class TileList {
 public:
  int64_t size() const { return static_cast<int64_t>(data_.size()); }
  std::byte* operator[](int64_t i) const { return data_[i]; }
  void Append(ArenaBlock tile);
  void Truncate(int64_t n);
  // Takes the first n tiles off.
  TileList TakeFront(int64_t n);

 private:
  std::vector<std::shared_ptr<const ArenaBlock>> blocks_;
  std::vector<std::byte*> data_;  // of each block, side by side: attention reads nothing else
};

// Sealed tiles, K and V of a tile adjacent: [K (head_dim, 16)][V (16, padded head_dim)]. The last
// tile may be partly filled; its unused slots are zero.
class DenseSegment : public Segment {
 public:
  DenseSegment(const DenseLayout& layout, TileList tiles, Positions pos,
               std::vector<float> bias = {});

  std::string_view format() const override;
  int64_t bytes() const override;
  const float* bias() const override { return bias_.empty() ? nullptr : bias_.data(); }
  bool tiles_in_place() const override { return true; }
  Status LoadTiles(int64_t first, int n, AttendScratch& scratch, TileRun* run) const override;

 protected:
  Status LoadAttendTiles(std::span<const int64_t> tiles, AttendScratch& scratch,
                         TileRun* run) const override;

  DenseLayout layout_;
  TileList tiles_;
  std::vector<float> bias_;  // padded to whole tiles

 private:
  void PointAt(int64_t tile, int at, TileRun* run) const;
};

// The growing end of a list. One writer; readers only between writes.
class Tail final : public DenseSegment {
 public:
  Tail(const DenseLayout& layout, SlabArena& arena);

  // Appends tokens; pos ascending and above the last.
  //   k_roped, v  rows `stride` floats apart
  //   bias        empty or (n) base-2 logit biases
  // Errors: kOutOfMemory; then nothing was appended.
  Status Append(std::span<const int32_t> pos, const float* k_roped, const float* v, int64_t stride,
                std::span<const float> bias = {});
  // Forgets tokens from index n on.
  void Truncate(int64_t n);
  // Moves the first `n` tokens, a multiple of the tile, into an immutable segment. 0 < n <= n_kv.
  std::shared_ptr<const DenseSegment> Seal(int64_t n);
  // An independent copy that shares no bytes.
  Result<Tail> Copy() const;
  const DenseLayout& layout() const { return layout_; }
  // Gives up the tiles; the tail is empty afterwards.
  TileList ReleaseTiles();

 private:
  void TruncateBias();

  SlabArena* arena_;
};

// Builds a sealed dense segment from f32 rows, for evicting, merging and re-positioning.
//   k_roped, v (n, head_dim); `bias` empty or (n) base-2
Result<std::shared_ptr<const Segment>> MakeDenseSegment(const DenseLayout& layout, SlabArena& arena,
                                                        std::span<const int32_t> pos,
                                                        const float* k_roped, const float* v,
                                                        std::span<const float> bias = {});

}  // namespace kvasir
