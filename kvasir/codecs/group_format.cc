#include "kvasir/codecs/group_format.h"

#include <cmath>

#include "kvasir/codecs/code_table.h"
#include "kvasir/kernels/half.h"

namespace kvasir {

BlockLayout::BlockLayout(const GroupFormat& format, const TileOrder& order, int slots)
    : slots(slots) {
  const int d = order.head_dim, d_pad = PaddedDim(d);
  const int n_tile = format.block / kTileTokens;
  const bool per_token = format.grouping == Grouping::kPerToken;
  tile_grids = per_token ? format.n_group(d) * slots : d_pad;
  n_grid = per_token ? tile_grids * n_tile : d_pad;
  n_outlier = static_cast<int>(std::lround(format.outliers * format.block * d));
  tile_strips = order.side == KvSide::kKey ? d : d_pad / kStripCodes * slots;
  strip_bytes = StripBytes(format.quantiser.bits());

  const auto place = [&](int64_t size) {
    const int64_t at = bytes;
    bytes += size;
    return at;
  };
  table = place(format.table == CodeTable::kFitted ? int64_t{2} << format.quantiser.bits() : 0);
  scale = place(format.quantiser.stores_scale() ? 2 * n_grid : 0);
  offset = place(format.quantiser.stores_offset() ? 2 * n_grid : 0);
  outlier = place(4 * n_outlier);
  codes = place(int64_t{n_tile} * tile_strips * strip_bytes);
}

BlockLayout BlockLayout::OfLast(const GroupFormat& format, const TileOrder& order, int n_token) {
  const bool exact = format.can_gather() && order.side == KvSide::kValue;
  return BlockLayout(format, order, exact ? n_token : kTileTokens);
}

void LoadTable(const GroupFormat& format, const BlockLayout& layout, const std::byte* block,
               float* table) {
  if (format.table == CodeTable::kNormal) {
    std::ranges::copy(NormalTable(format.quantiser.bits()), table);
    return;
  }
  const auto* words = reinterpret_cast<const uint16_t*>(block + layout.table);
  for (int i = 0; i < 1 << format.quantiser.bits(); ++i) table[i] = HalfToFloat(words[i]);
}

CodePlace PlaceOf(const BlockLayout& layout, const TileOrder& order, int token, int channel) {
  const int64_t tile = token / kTileTokens, slot = token % kTileTokens;
  if (order.side == KvSide::kKey) {
    return {(tile * layout.tile_strips + channel) * layout.strip_bytes, static_cast<int>(slot)};
  }
  const int64_t row = channel / kStripCodes * layout.slots + slot;
  return {(tile * layout.tile_strips + row) * layout.strip_bytes, channel % kStripCodes};
}

}  // namespace kvasir
