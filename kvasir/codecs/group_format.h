// Formats that give runs of values a scale and an offset of their own: most published KV formats.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "kvasir/codecs/channel_order.h"
#include "kvasir/codecs/quantiser.h"
#include "kvasir/codecs/registry.h"
#include "kvasir/codecs/tile_order.h"

namespace kvasir {

struct KvCalibration;  // calibration.h

enum class Grouping : uint8_t {
  kPerToken,    // a group is neighbouring channels of one token
  kPerChannel,  // a group is the tokens of a block in one channel
};

enum class CodeTable : uint8_t { kNone, kNormal, kFitted, kIq4nl };

// One side of a format.
struct GroupFormat {
  Quantiser quantiser;
  Grouping grouping = Grouping::kPerToken;
  int group = 32;             // channels, a multiple of 16; 0 = the whole head. kPerToken only
  int block = kTileTokens;    // tokens stored together, a multiple of 16
  bool hadamard = false;      // rows are rotated before they are encoded
  bool random_signs = false;  // of the rotation
  // Channels are put in this order, after any rotation. Where the head is one group, order changes
  // nothing and none is sought.
  ChannelSort sort = ChannelSort::kNone;
  bool raw = false;  // keys are stored without RoPE, and rotated when they are read
  CodeTable table = CodeTable::kNone;  // kFitted: one per block
  double outliers = 0;  // share of a block's elements that is also stored as differences
  std::shared_ptr<const KvCalibration> calibration = {};  // ranges and tables; null = fitted

  // Whether tokens are encoded one by one.
  bool can_gather() const {
    return grouping == Grouping::kPerToken && block == kTileTokens && !raw && outliers == 0 &&
           table != CodeTable::kFitted;
  }
  int GroupChannels(int head_dim) const {
    return group == 0 ? PaddedDim(head_dim) : std::min(group, PaddedDim(head_dim));
  }
  int n_group(int head_dim) const {
    const int channels = GroupChannels(head_dim);
    return (head_dim + channels - 1) / channels;
  }
  bool sorts(int head_dim) const { return sort != ChannelSort::kNone && n_group(head_dim) > 1; }
};

// How a block lies in memory, in bytes from its start:
//
//   table    (2^bits) f16, kFitted only
//   scale    f16; kPerToken (tile, group, slots), kPerChannel (padded head_dim)
//   offset   u16, as scale; see GridRule
//   outlier  (n_outlier) u16 of token * head_dim + channel, ascending; (n_outlier) f16 differences
//   codes    strips of 16; of keys (tile, channel) and over tokens,
//            of values (tile, channel / 16, slots) and over channels
//
// A block that is not full has zeros in the places of the missing tokens, or, where values are
// encoded token by token, has places for the tokens there are alone.
struct BlockLayout {
  //   slots  tokens of a tile that there is room for
  BlockLayout(const GroupFormat& format, const TileOrder& order, int slots = kTileTokens);
  // Of the last block of a part, which holds n_token.
  static BlockLayout OfLast(const GroupFormat& format, const TileOrder& order, int n_token);

  int slots = 0;
  int n_grid = 0;      // scales in a block
  int tile_grids = 0;  // of them, those of one tile
  int n_outlier = 0;
  int tile_strips = 0;
  int strip_bytes = 0;
  int64_t table = 0, scale = 0, offset = 0, outlier = 0, codes = 0, bytes = 0;
};

// The strips of a block's codes, one tile's codes at a time.
//   codes  (slots, head_dim), a byte each
void PackTile(const BlockLayout& layout, const TileOrder& order, int bits, const uint8_t* codes,
              uint8_t* strips);
void UnpackTileCodes(const BlockLayout& layout, const TileOrder& order, int bits,
                     const uint8_t* strips, uint8_t* codes);

// The (2^bits) values of a table format, from the block or fixed; `table` has 16 places.
void LoadTable(const GroupFormat& format, const BlockLayout& layout, const std::byte* block,
               float* table);

inline constexpr CodecParam kHadamardParam = {
    .name = "had", .max = 1, .meaning = "rotate each head by a block Hadamard matrix first"};

// In the order of ChannelSort.
inline constexpr std::string_view kChannelSorts[] = {"none", "energy", "range", "mean"};
inline constexpr CodecParam kOrderParam = {
    .name = "order",
    .max = 3,
    .meaning = "what channels are sorted by before they are grouped: energy, range or mean",
    .choices = kChannelSorts};

struct GroupCodecSpec {
  std::string name;
  GroupFormat k = {}, v = {};
  TailRule k_tail = {}, v_tail = {};
};

// Errors: kInvalidArgument for sizes and transforms that do not go together.
Result<std::shared_ptr<const KvCodec>> MakeGroupCodec(GroupCodecSpec spec);

// ggml's block formats: groups of 32 channels of a token, rotated or sorted first if that is asked.
inline constexpr CodecParam kGgmlParams[] = {kHadamardParam, kOrderParam};
Result<std::shared_ptr<const KvCodec>> MakeGgmlCodec(const CodecInfo& info, CodecValues values,
                                                     Quantiser quantiser,
                                                     CodeTable table = CodeTable::kNone);

// Encodes any number of tokens in `format`. Errors: kOutOfMemory.
Result<std::shared_ptr<const CodedPart>> EncodeGroups(const GroupFormat& format,
                                                      const CodecInput& input);

}  // namespace kvasir
