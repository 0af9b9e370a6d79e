// The encoded tokens of a GroupFormat.
#pragma once

#include <memory>
#include <vector>

#include "kvasir/cache/positions.h"
#include "kvasir/codecs/channel_rotation.h"
#include "kvasir/codecs/group_format.h"
#include "kvasir/codecs/rope_table.h"

namespace kvasir {

class GroupPart final : public CodedPart {
 public:
  //   basis       that the stored rows are in
  //   owns_order  its order was found on these tokens
  //   rope        for raw keys, with the tokens' positions; else null
  GroupPart(const GroupFormat& format, const TileOrder& order, SlabArena* arena, ChannelBasis basis,
            bool owns_order, std::shared_ptr<const RopeTable> rope, Positions pos);

  // Adds zeroed blocks for n tokens.
  Status Grow(int64_t n);
  std::byte* block(int64_t i) const { return i < full_.n_block() ? full_.block(i) : last_.data(); }
  int64_t n_block() const { return full_.n_block() + (last_.bytes() > 0 ? 1 : 0); }
  const BlockLayout& layout(int64_t block) const {
    return block + 1 < n_block() ? layout_ : last_layout_;
  }
  int64_t n_token() const override { return n_token_; }
  int64_t bytes() const override;
  std::shared_ptr<const HeadTraits> traits() const override { return basis_.order(); }
  Status LoadTiles(int64_t first, int n, float* scratch, TileFormat* format,
                   const void** tiles) const override;
  const ChannelRotation* rotation() const override;
  Status LoadRotatedTiles(int64_t first, int n, float* scratch, TileFormat* format,
                          const void** tiles) const override;
  const CodeFormat* code_format() const override { return reads_codes_ ? &code_format_ : nullptr; }
  int64_t n_code_tile() const override;
  void CodeTiles(std::span<const int64_t> tiles, CodeTile* at) const override;
  Result<std::shared_ptr<const CodedPart>> Gather(std::span<const int32_t> keep) const override;
  Result<std::shared_ptr<const CodedPart>> Join(const CodedPart& next) const override;

 private:
  Status Load(int64_t first, int n, bool rotated, float* scratch, TileFormat* format,
              const void** tiles) const;
  void LoadTile(int64_t tile, bool rotated, float* dst) const;
  void ChangeBack(int64_t tile, float* dst) const;
  void LoadGrids(int64_t block, int tile, float* scale, float* offset) const;
  void Unpack(int64_t block, int tile, float* dst) const;
  void AddOutliers(int64_t block, int tile, float* dst) const;
  void RestoreKeys(int64_t tile, float* dst) const;
  void ClearUnused(int64_t tile, float* dst) const;
  // Fills a block with the codes of `tokens` of `from`.
  void CopyTokens(const GroupPart& from, std::span<const int32_t> tokens, int64_t block);

  GroupFormat format_;
  TileOrder order_;
  BlockLayout layout_, last_layout_;
  bool reads_codes_;  // attention does, as code_format_ says
  CodeFormat code_format_;
  SlabArena* arena_;
  ChannelBasis basis_;
  bool owns_order_;
  std::shared_ptr<const RopeTable> rope_;
  Positions pos_;  // raw keys only
  int64_t n_token_ = 0;
  ArenaRun full_;
  ArenaBlock last_;  // not full; may be smaller
};

}  // namespace kvasir
