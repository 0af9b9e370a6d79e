#include "kvasir/codecs/channel_order.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

#include "kvasir/codecs/tile_order.h"

namespace kvasir {
namespace {

// Of each channel.
struct ChannelStats {
  ChannelStats(std::span<const float> rows, int head_dim)
      : energy(head_dim),
        sum(head_dim),
        min(head_dim, std::numeric_limits<float>::infinity()),
        max(head_dim, -std::numeric_limits<float>::infinity()) {
    for (size_t e = 0; e < rows.size(); ++e) {
      const size_t c = e % head_dim;
      const double x = rows[e];
      energy[c] += x * x;
      sum[c] += x;
      min[c] = std::min(min[c], rows[e]);
      max[c] = std::max(max[c], rows[e]);
    }
  }
  std::vector<double> energy, sum;
  std::vector<float> min, max;
};

template <typename T>
void SortBy(const std::vector<T>& key, std::span<uint16_t> channels) {
  std::ranges::stable_sort(channels, {}, [&](uint16_t c) { return key[c]; });
}

float Spread(const std::vector<float>& key, std::span<const uint16_t> channels) {
  const auto [low, high] =
      std::ranges::minmax_element(channels, {}, [&](uint16_t c) { return key[c]; });
  return key[*high] - key[*low];
}

void CutByRange(const ChannelStats& stats, int group, std::span<uint16_t> channels) {
  const size_t n_group = (channels.size() + group - 1) / group;
  if (n_group <= 1) {
    std::ranges::sort(channels);
    return;
  }
  const bool by_min = Spread(stats.min, channels) >= Spread(stats.max, channels);
  SortBy(by_min ? stats.min : stats.max, channels);
  const size_t cut = n_group / 2 * group;
  CutByRange(stats, group, channels.first(cut));
  CutByRange(stats, group, channels.subspan(cut));
}

}  // namespace

Result<std::shared_ptr<const ChannelOrder>> ChannelOrder::Find(ChannelSort sort,
                                                               std::span<const float> rows,
                                                               int head_dim, int group,
                                                               ByteLedger& ledger) {
  KVASIR_ASSIGN_OR_RETURN(ByteCharge charge,
                          ByteCharge::Take(ledger, ByteKind::kIndex, Bytes(head_dim)));
  std::vector<uint16_t> channels(head_dim);
  std::iota(channels.begin(), channels.end(), uint16_t{0});
  const ChannelStats stats(rows, head_dim);
  switch (sort) {
    case ChannelSort::kNone: break;
    case ChannelSort::kEnergy: SortBy(stats.energy, channels); break;
    case ChannelSort::kMean: SortBy(stats.sum, channels); break;
    case ChannelSort::kRange: CutByRange(stats, group, channels); break;
  }
  return std::shared_ptr<const ChannelOrder>(
      new ChannelOrder(sort, group, std::move(channels), std::move(charge)));
}

ChannelOrder::ChannelOrder(ChannelSort sort, int group, std::vector<uint16_t> channels,
                           ByteCharge charge)
    : sort_(sort), group_(group), channels_(std::move(channels)), charge_(std::move(charge)) {}

void ChannelOrder::Forward(float* row) const {
  float stored[kMaxHeadDim];
  for (size_t i = 0; i < channels_.size(); ++i) stored[i] = row[channels_[i]];
  std::copy_n(stored, channels_.size(), row);
}

void ChannelOrder::Backward(float* row) const {
  float stored[kMaxHeadDim];
  std::copy_n(row, channels_.size(), stored);
  for (size_t i = 0; i < channels_.size(); ++i) row[channels_[i]] = stored[i];
}

void ChannelOrder::BackwardLanes(float* tile) const {
  float stored[kMaxHeadDim * kTileTokens];
  std::copy_n(tile, channels_.size() * kTileTokens, stored);
  for (size_t i = 0; i < channels_.size(); ++i) {
    std::copy_n(stored + i * kTileTokens, kTileTokens, tile + channels_[i] * kTileTokens);
  }
}

}  // namespace kvasir
