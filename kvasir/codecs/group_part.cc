#include "kvasir/codecs/group_part.h"

#include <algorithm>
#include <cstring>

#include "kvasir/kernels/half.h"

namespace kvasir {

namespace {

// What kernels/attend_codes.h can read.
bool ReadsCodes(const GroupFormat& format, const TileOrder& order) {
  const Quantiser& quantiser = format.quantiser;
  return format.grouping == Grouping::kPerToken && format.outliers == 0 &&
         order.head_dim % kStripCodes == 0 && (quantiser.bits() == 4 || quantiser.bits() == 8) &&
         (quantiser.is_symmetric() || quantiser.is_min_max()) &&
         !(format.raw && order.side == KvSide::kKey);
}

CodeFormat CodeFormatOf(const GroupFormat& format, int head_dim) {
  const Quantiser& quantiser = format.quantiser;
  return {.bits = quantiser.bits(),
          .group = format.GroupChannels(head_dim),
          .zero = quantiser.is_symmetric() ? 1 << (quantiser.bits() - 1) : 0,
          .has_offset = quantiser.is_min_max(),
          .is_positive = !quantiser.is_signed()};
}

}  // namespace

GroupPart::GroupPart(const GroupFormat& format, const TileOrder& order, SlabArena* arena,
                     ChannelBasis basis, bool owns_order, std::shared_ptr<const RopeTable> rope,
                     Positions pos)
    : format_(format),
      order_(order),
      layout_(format, order),
      last_layout_(layout_),
      reads_codes_(ReadsCodes(format, order)),
      code_format_(CodeFormatOf(format, order.head_dim)),
      arena_(arena),
      basis_(std::move(basis)),
      owns_order_(owns_order && basis_.order() != nullptr),
      rope_(std::move(rope)),
      pos_(std::move(pos)) {}

Status GroupPart::Grow(int64_t n) {
  n_token_ = n;
  const int64_t left = n % format_.block;
  if (n >= format_.block) {
    KVASIR_ASSIGN_OR_RETURN(full_, arena_->AllocateRun(layout_.bytes, n / format_.block));
  }
  if (left == 0) return Status::Ok();
  last_layout_ = BlockLayout::OfLast(format_, order_, static_cast<int>(left));
  KVASIR_ASSIGN_OR_RETURN(last_, arena_->Allocate(last_layout_.bytes));
  return Status::Ok();
}

int64_t GroupPart::bytes() const {
  return full_.n_block() * full_.block_bytes() + last_.bytes() + pos_.bytes() +
         (owns_order_ ? basis_.order()->bytes() : 0);
}

const ChannelRotation* GroupPart::rotation() const {
  return basis_.changes() && rope_ == nullptr ? &basis_ : nullptr;
}

int64_t GroupPart::n_code_tile() const {
  if (!reads_codes_) return 0;
  const bool last_is_narrow = last_layout_.slots < kTileTokens;
  return (n_token_ + (last_is_narrow ? 0 : kTileTokens - 1)) / kTileTokens;
}

void GroupPart::CodeTiles(std::span<const int64_t> tiles, CodeTile* at) const {
  const int tiles_per_block = format_.block / kTileTokens;
  ArenaRun::Stretch near;  // tiles mostly ascend
  const auto point = [&](int64_t block, int64_t tile, CodeTile& to) {
    const BlockLayout& layout = this->layout(block);
    if (block < full_.n_block() && !near.has(block)) near = full_.stretch(block);
    const auto* data =
        reinterpret_cast<const uint8_t*>(near.has(block) ? near.block(block) : last_.data());
    to.codes = data + layout.codes + tile * layout.tile_strips * layout.strip_bytes;
    to.scale = reinterpret_cast<const uint16_t*>(data + layout.scale) + tile * layout.tile_grids;
    to.offset = reinterpret_cast<const uint16_t*>(data + layout.offset) + tile * layout.tile_grids;
  };
  if (tiles_per_block == 1) {  // most formats: no division then
    for (const int64_t tile : tiles) point(tile, 0, *at++);
  } else {
    for (const int64_t tile : tiles) point(tile / tiles_per_block, tile % tiles_per_block, *at++);
  }
}

Status GroupPart::LoadTiles(int64_t first, int n, float* scratch, TileFormat* format,
                            const void** tiles) const {
  return Load(first, n, false, scratch, format, tiles);
}

Status GroupPart::LoadRotatedTiles(int64_t first, int n, float* scratch, TileFormat* format,
                                   const void** tiles) const {
  return Load(first, n, true, scratch, format, tiles);
}

Status GroupPart::Load(int64_t first, int n, bool rotated, float* scratch, TileFormat* format,
                       const void** tiles) const {
  *format = TileFormat::kF32;
  for (int i = 0; i < n; ++i) {
    float* dst = scratch + i * order_.floats();
    LoadTile(first + i, rotated, dst);
    tiles[i] = dst;
  }
  return Status::Ok();
}

void GroupPart::LoadTile(int64_t tile, bool rotated, float* dst) const {
  const int tiles_per_block = format_.block / kTileTokens;
  const int64_t block = tile / tiles_per_block;
  const int in_block = static_cast<int>(tile % tiles_per_block);
  Unpack(block, in_block, dst);
  if (layout_.n_outlier > 0) AddOutliers(block, in_block, dst);
  if (basis_.changes() && !(rotated && rotation() != nullptr)) ChangeBack(tile, dst);
  if (rope_ != nullptr) RestoreKeys(tile, dst);
  ClearUnused(tile, dst);
}

void GroupPart::ChangeBack(int64_t tile, float* dst) const {
  if (order_.side == KvSide::kKey) return basis_.BackwardLanes(dst);
  const int64_t used = std::min<int64_t>(kTileTokens, n_token_ - tile * kTileTokens);
  for (int64_t t = 0; t < used; ++t) basis_.Backward(dst + t * PaddedDim(order_.head_dim));
}

void GroupPart::LoadGrids(int64_t block, int tile, float* scale, float* offset) const {
  const BlockLayout& layout = this->layout(block);
  const int n = layout.tile_grids;
  const int64_t first = format_.grouping == Grouping::kPerToken ? int64_t{tile} * n : 0;
  const auto* words = reinterpret_cast<const uint16_t*>(this->block(block));
  if (format_.quantiser.stores_scale()) {
    ActiveAttendKernels().unpack_f16(words + layout.scale / 2 + first, scale, n);
  } else {
    std::fill_n(scale, n, 1.0f);
  }
  format_.quantiser.FillOffsets(words + layout.offset / 2 + first, scale, n, offset);
}

void GroupPart::Unpack(int64_t block, int tile, float* dst) const {
  alignas(64) float scale[kMaxHeadDim], offset[kMaxHeadDim];
  alignas(64) float table[kStripCodes] = {};
  const BlockLayout& layout = this->layout(block);
  LoadGrids(block, tile, scale, offset);
  const Quantiser& quantiser = format_.quantiser;
  KvStrips strips = {.kind = quantiser.kind(), .bits = quantiser.bits(), .table = table};
  if (strips.kind == CodeKind::kTable) LoadTable(format_, layout, this->block(block), table);
  const auto* codes = reinterpret_cast<const uint8_t*>(this->block(block)) + layout.codes +
                      int64_t{tile} * layout.tile_strips * layout.strip_bytes;
  const bool per_token = format_.grouping == Grouping::kPerToken;
  const int d = order_.head_dim;
  const int group = format_.GroupChannels(d);
  const KvUnpackKernels& kernels = ActiveKvUnpackKernels();
  if (order_.side == KvSide::kKey) {
    // A strip is a channel: its tokens share a scale, or each has its own for a run of channels.
    const int run = per_token ? group : d;
    for (int c = 0; c < d; c += run) {
      strips.codes = codes + int64_t{c} * layout.strip_bytes;
      strips.n_row = std::min(run, d - c);
      strips.dst = dst + c * kTileTokens;
      const int grid = c / run * kTileTokens;
      per_token ? kernels.by_lane(strips, scale + grid, offset + grid)
                : kernels.by_row(strips, scale, offset);
    }
    return;
  }
  // A strip is 16 channels of a token.
  for (int c = 0; c < d; c += kStripCodes) {
    strips.codes = codes + int64_t{c / kStripCodes} * layout.slots * layout.strip_bytes;
    strips.n_row = layout.slots;
    strips.dst = dst + c;
    strips.stride = PaddedDim(d);
    const int grid = per_token ? c / group * layout.slots : c;
    per_token ? kernels.by_row(strips, scale + grid, offset + grid)
              : kernels.by_lane(strips, scale + grid, offset + grid);
  }
}

void GroupPart::AddOutliers(int64_t block, int tile, float* dst) const {
  const auto* index = reinterpret_cast<const uint16_t*>(this->block(block) + layout_.outlier);
  const uint16_t* value = index + layout_.n_outlier;
  const int per_tile = kTileTokens * order_.head_dim;
  const auto* it = std::lower_bound(index, index + layout_.n_outlier, tile * per_tile);
  for (; it != index + layout_.n_outlier && *it < (tile + 1) * per_tile; ++it) {
    const int element = *it - tile * per_tile;
    dst[order_.At(element / order_.head_dim, element % order_.head_dim)] +=
        HalfToFloat(value[it - index]);
  }
}

void GroupPart::RestoreKeys(int64_t tile, float* dst) const {
  int32_t pos[kTileTokens];
  const int64_t first = tile * kTileTokens;
  const auto n = static_cast<size_t>(std::min<int64_t>(kTileTokens, n_token_ - first));
  for (size_t t = 0; t < n; ++t) pos[t] = pos_[first + static_cast<int64_t>(t)];
  rope_->TurnTile(dst, {pos, n});
}

void GroupPart::ClearUnused(int64_t tile, float* dst) const {
  const int d = order_.head_dim, d_pad = PaddedDim(d);
  const int64_t used = std::min<int64_t>(kTileTokens, n_token_ - tile * kTileTokens);
  if (order_.side == KvSide::kKey) {
    if (used == kTileTokens) return;
    for (int c = 0; c < d; ++c) {
      std::fill(dst + c * kTileTokens + used, dst + (c + 1) * kTileTokens, 0.0f);
    }
    return;
  }
  std::fill(dst + used * d_pad, dst + int64_t{kTileTokens} * d_pad, 0.0f);
  for (int64_t t = 0; d < d_pad && t < used; ++t) {
    std::fill(dst + t * d_pad + d, dst + (t + 1) * d_pad, 0.0f);
  }
}

Result<std::shared_ptr<const CodedPart>> GroupPart::Gather(std::span<const int32_t> keep) const {
  if (!format_.can_gather()) return CodedPart::Gather(keep);
  auto part = std::make_shared<GroupPart>(format_, order_, arena_, basis_, owns_order_, nullptr,
                                          Positions());
  KVASIR_RETURN_IF_ERROR(part->Grow(static_cast<int64_t>(keep.size())));
  for (int64_t b = 0; b < part->n_block(); ++b) {
    const int64_t first = b * kTileTokens;
    part->CopyTokens(
        *this, keep.subspan(first, std::min<int64_t>(kTileTokens, part->n_token_ - first)), b);
  }
  return std::shared_ptr<const CodedPart>(std::move(part));
}

Result<std::shared_ptr<const CodedPart>> GroupPart::Join(const CodedPart& next) const {
  const auto* after = dynamic_cast<const GroupPart*>(&next);
  const bool together = after != nullptr && n_token_ % format_.block == 0 && rope_ == nullptr &&
                        after->rope_ == nullptr && layout_.bytes == after->layout_.bytes &&
                        basis_.order() == after->basis_.order();
  if (!together) return std::shared_ptr<const CodedPart>();
  auto part = std::make_shared<GroupPart>(format_, order_, arena_, basis_,
                                          owns_order_ || after->owns_order_, nullptr, Positions());
  KVASIR_RETURN_IF_ERROR(part->Grow(n_token_ + after->n_token_));
  for (int64_t i = 0; i < part->n_block(); ++i) {
    const GroupPart& from = i < n_block() ? *this : *after;
    const std::byte* block = from.block(i < n_block() ? i : i - n_block());
    std::memcpy(part->block(i), block, static_cast<size_t>(part->layout(i).bytes));
  }
  return std::shared_ptr<const CodedPart>(std::move(part));
}

void GroupPart::CopyTokens(const GroupPart& from, std::span<const int32_t> tokens, int64_t block) {
  const int d = order_.head_dim, bits = format_.quantiser.bits();
  const BlockLayout& layout = this->layout(block);
  std::byte* to = this->block(block);
  std::vector<uint8_t> codes(int64_t{layout.slots} * d), source(int64_t{kTileTokens} * d);
  int64_t unpacked = -1;
  for (size_t slot = 0; slot < tokens.size(); ++slot) {
    const int64_t from_block = tokens[slot] / kTileTokens;
    const int64_t from_slot = tokens[slot] % kTileTokens;
    const BlockLayout& from_layout = from.layout(from_block);
    const std::byte* data = from.block(from_block);
    if (from_block != unpacked) {
      unpacked = from_block;
      UnpackTileCodes(from_layout, order_, bits,
                      reinterpret_cast<const uint8_t*>(data + from_layout.codes), source.data());
    }
    std::copy_n(source.begin() + from_slot * d, d, codes.begin() + static_cast<int64_t>(slot) * d);
    const auto copy_words = [&](int64_t to_array, int64_t from_array) {
      for (int64_t g = 0; g < format_.n_group(d); ++g) {
        std::memcpy(to + to_array + 2 * (g * layout.slots + static_cast<int64_t>(slot)),
                    data + from_array + 2 * (g * from_layout.slots + from_slot), 2);
      }
    };
    if (format_.quantiser.stores_scale()) copy_words(layout.scale, from_layout.scale);
    if (format_.quantiser.stores_offset()) copy_words(layout.offset, from_layout.offset);
  }
  PackTile(layout, order_, bits, codes.data(), reinterpret_cast<uint8_t*>(to + layout.codes));
}

}  // namespace kvasir
