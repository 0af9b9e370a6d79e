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
  if (format.table == CodeTable::kIq4nl) {
    std::ranges::copy(kIq4nlValues, table);
    return;
  }
  const auto* words = reinterpret_cast<const uint16_t*>(block + layout.table);
  for (int i = 0; i < 1 << format.quantiser.bits(); ++i) table[i] = HalfToFloat(words[i]);
}

namespace {

// Calls visit(strip, codes index of its first code, distance of neighbours, their number).
template <typename Visit>
void ForEachStrip(const BlockLayout& layout, const TileOrder& order, const Visit& visit) {
  const int d = order.head_dim;
  if (order.side == KvSide::kKey) {
    for (int c = 0; c < d; ++c) visit(c, c, d, layout.slots);
    return;
  }
  for (int c = 0; c < d; c += kStripCodes) {
    for (int t = 0; t < layout.slots; ++t) {
      visit(c / kStripCodes * layout.slots + t, t * d + c, 1, std::min(kStripCodes, d - c));
    }
  }
}

}  // namespace

void PackTile(const BlockLayout& layout, const TileOrder& order, int bits, const uint8_t* codes,
              uint8_t* strips) {
  ForEachStrip(layout, order, [&](int strip, int first, int step, int n) {
    uint8_t run[kStripCodes] = {};
    for (int i = 0; i < n; ++i) run[i] = codes[first + i * step];
    PackStrip(run, bits, strips + int64_t{strip} * layout.strip_bytes);
  });
}

void UnpackTileCodes(const BlockLayout& layout, const TileOrder& order, int bits,
                     const uint8_t* strips, uint8_t* codes) {
  ForEachStrip(layout, order, [&](int strip, int first, int step, int n) {
    const uint8_t* packed = strips + int64_t{strip} * layout.strip_bytes;
    for (int i = 0; i < n; ++i) codes[first + i * step] = GetStripCode(packed, bits, i);
  });
}

}  // namespace kvasir
