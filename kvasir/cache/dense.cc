#include "kvasir/cache/dense.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <utility>

namespace kvasir {
namespace {

int64_t TileCount(int64_t n_kv) { return (n_kv + kTileTokens - 1) / kTileTokens; }

// Writes one token's key as a column of a tile.
void PutKey(const DenseLayout& layout, std::byte* tile, int slot, const float* k) {
  const int d = layout.head_dim;
  if (layout.k_format == TileFormat::kF32) {
    float* column = reinterpret_cast<float*>(tile) + slot;
    for (int j = 0; j < d; ++j) column[j * kTileTokens] = k[j];
    return;
  }
  constexpr int kPart = 64;
  uint16_t half[kPart];
  uint16_t* column = reinterpret_cast<uint16_t*>(tile) + slot;
  for (int first = 0; first < d; first += kPart) {
    const int n = std::min(kPart, d - first);
    ActiveAttendKernels().pack_f16(k + first, half, n);
    for (int j = 0; j < n; ++j) column[(first + j) * kTileTokens] = half[j];
  }
}

// Writes one token's value as a row of a tile.
void PutValue(const DenseLayout& layout, std::byte* tile, int slot, const float* v) {
  std::byte* rows = tile + layout.k_bytes();
  const int64_t offset = int64_t{slot} * PaddedDim(layout.head_dim);
  if (layout.v_format == TileFormat::kF32) {
    std::memcpy(reinterpret_cast<float*>(rows) + offset, v,
                static_cast<size_t>(layout.head_dim) * sizeof(float));
  } else {
    ActiveAttendKernels().pack_f16(v, reinterpret_cast<uint16_t*>(rows) + offset, layout.head_dim);
  }
}

}  // namespace

void TileList::Append(ArenaBlock tile) {
  data_.push_back(tile.data());
  blocks_.push_back(std::make_shared<const ArenaBlock>(std::move(tile)));
}

void TileList::Truncate(int64_t n) {
  data_.resize(static_cast<size_t>(n));
  blocks_.resize(static_cast<size_t>(n));
}

TileList TileList::TakeFront(int64_t n) {
  TileList front;
  front.blocks_.assign(blocks_.begin(), blocks_.begin() + n);
  front.data_.assign(data_.begin(), data_.begin() + n);
  blocks_.erase(blocks_.begin(), blocks_.begin() + n);
  data_.erase(data_.begin(), data_.begin() + n);
  return front;
}

DenseSegment::DenseSegment(const DenseLayout& layout, TileList tiles, Positions pos,
                           std::vector<float> bias)
    : Segment(layout.head_dim), layout_(layout), tiles_(std::move(tiles)), bias_(std::move(bias)) {
  pos_ = std::move(pos);
  if (!bias_.empty()) bias_.resize(static_cast<size_t>(tiles_.size() * kTileTokens));
}

std::string_view DenseSegment::format() const {
  const bool k16 = layout_.k_format == TileFormat::kF16;
  const bool v16 = layout_.v_format == TileFormat::kF16;
  return k16 ? (v16 ? "f16" : "f16/f32") : (v16 ? "f32/f16" : "f32");
}

int64_t DenseSegment::bytes() const {
  return tiles_.size() * layout_.tile_bytes() + pos_.bytes() +
         static_cast<int64_t>(bias_.capacity() * sizeof(float));
}

void DenseSegment::PointAt(int64_t tile, int at, TileRun* run) const {
  run->k_format = layout_.k_format;
  run->v_format = layout_.v_format;
  run->k[at] = tiles_[tile];
  run->v[at] = tiles_[tile] + layout_.k_bytes();
}

Status DenseSegment::LoadTiles(int64_t first, int n, AttendScratch&, TileRun* run) const {
  for (int i = 0; i < n; ++i) PointAt(first + i, i, run);
  return Status::Ok();
}

Status DenseSegment::LoadAttendTiles(std::span<const int64_t> tiles, AttendScratch&,
                                     TileRun* run) const {
  for (size_t i = 0; i < tiles.size(); ++i) PointAt(tiles[i], static_cast<int>(i), run);
  return Status::Ok();
}

Tail::Tail(const DenseLayout& layout, SlabArena& arena)
    : DenseSegment(layout, {}, {}), arena_(&arena) {}

Status Tail::Append(std::span<const int32_t> pos, const float* k_roped, const float* v,
                    int64_t stride, std::span<const float> bias) {
  const int64_t n_tile = TileCount(n_kv() + static_cast<int64_t>(pos.size()));
  const int64_t n_before = tiles_.size();
  while (tiles_.size() < n_tile) {
    Result<ArenaBlock> tile = arena_->Allocate(layout_.tile_bytes());
    if (!tile.ok()) {
      tiles_.Truncate(n_before);
      return std::move(tile).status();
    }
    tiles_.Append(std::move(*tile));
  }
  for (size_t i = 0; i < pos.size(); ++i) {
    const int64_t row = static_cast<int64_t>(i) * stride;
    const int slot = static_cast<int>(n_kv() % kTileTokens);
    std::byte* tile = tiles_[n_kv() / kTileTokens];
    PutKey(layout_, tile, slot, k_roped + row);
    PutValue(layout_, tile, slot, v + row);
    pos_.Append(pos[i]);
  }
  if (!bias.empty() || !bias_.empty()) {
    bias_.resize(tiles_.size() * kTileTokens);
    std::copy(bias.begin(), bias.end(),
              bias_.begin() + (n_kv() - static_cast<int64_t>(pos.size())));
  }
  return Status::Ok();
}

void Tail::Truncate(int64_t n) {
  assert(n <= n_kv());
  pos_.Truncate(n);
  tiles_.Truncate(TileCount(n));
  TruncateBias();
}

void Tail::TruncateBias() {
  if (bias_.empty()) return;
  bias_.resize(static_cast<size_t>(tiles_.size() * kTileTokens));
  std::fill(bias_.begin() + n_kv(), bias_.end(), 0.0f);
}

std::shared_ptr<const DenseSegment> Tail::Seal(int64_t n) {
  assert(n > 0 && n <= n_kv() && (n % kTileTokens == 0 || n == n_kv()));
  TileList sealed = tiles_.TakeFront(TileCount(n));
  std::vector<float> bias;
  if (!bias_.empty()) {
    const auto end = bias_.begin() + std::min<int64_t>(TileCount(n) * kTileTokens, bias_.size());
    bias.assign(bias_.begin(), end);
    bias_.erase(bias_.begin(), end);
  }
  auto segment = std::make_shared<const DenseSegment>(layout_, std::move(sealed), pos_.Slice(0, n),
                                                      std::move(bias));
  pos_ = pos_.Slice(n, n_kv());
  return segment;
}

TileList Tail::ReleaseTiles() {
  pos_.Truncate(0);
  bias_.clear();
  return std::exchange(tiles_, {});
}

Result<Tail> Tail::Copy() const {
  Tail copy(layout_, *arena_);
  for (int64_t i = 0; i < tiles_.size(); ++i) {
    KVASIR_ASSIGN_OR_RETURN(ArenaBlock block, arena_->Allocate(layout_.tile_bytes()));
    std::memcpy(block.data(), tiles_[i], static_cast<size_t>(layout_.tile_bytes()));
    copy.tiles_.Append(std::move(block));
  }
  copy.pos_ = pos_;
  copy.bias_ = bias_;
  return copy;
}

Result<std::shared_ptr<const Segment>> MakeDenseSegment(const DenseLayout& layout, SlabArena& arena,
                                                        std::span<const int32_t> pos,
                                                        const float* k_roped, const float* v,
                                                        std::span<const float> bias) {
  Tail tail(layout, arena);
  KVASIR_RETURN_IF_ERROR(tail.Append(pos, k_roped, v, layout.head_dim, bias));
  return std::shared_ptr<const Segment>(tail.Seal(tail.n_kv()));
}

}  // namespace kvasir
