// The order in which a format stores the channels of a head, so that groups hold channels that are
// alike. Sorting by energy: K-sort, arXiv:2403.20137. By range: SKVQ, arXiv:2405.06219. By mean,
// after a rotation: RotateKV, arXiv:2501.16383. The papers calibrate on other text, or sort rows of
// the weights; here a head's own first tokens decide, and the order then stays.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "kvasir/cache/coded_segment.h"
#include "kvasir/core/byte_ledger.h"

namespace kvasir {

// What channels are sorted by. Ties stand as they stood.
enum class ChannelSort : uint8_t {
  kNone,
  kEnergy,  // sum of squares, ascending: for scales around 0
  // Runs of a group's length that have similar least and largest values: for scales with a minimum.
  // Halves of the channels are cut apart by whichever of the two differs more, again and again.
  kRange,
  kMean,  // ascending
};

// Tokens that decide the order, where there are as many: formats with an order seal no fewer first,
// so that it does not depend on how tokens arrive.
inline constexpr int kOrderTokens = 128;

// A permutation of channels. Immutable; charged to the ledger once, however many parts share it.
class ChannelOrder final : public HeadTraits {
 public:
  // Finds the order from rows (n, head_dim), n > 0, for groups of `group` channels. The ledger must
  // outlive it. Errors: kOutOfMemory.
  static Result<std::shared_ptr<const ChannelOrder>> Find(ChannelSort sort,
                                                          std::span<const float> rows, int head_dim,
                                                          int group, ByteLedger& ledger);
  static int64_t Bytes(int head_dim) { return int64_t{2} * head_dim; }

  int64_t bytes() const override { return charge_.bytes(); }
  // Whether it was found for the same formats.
  bool Serves(ChannelSort sort, int head_dim, int group) const {
    return sort == sort_ && group == group_ && head_dim == static_cast<int>(channels_.size());
  }
  // (head_dim) the channel that is stored in each place
  std::span<const uint16_t> channels() const { return channels_; }

  void Forward(float* row) const;
  void Backward(float* row) const;
  void BackwardLanes(float* tile) const;  // tile (head_dim, 16)

 private:
  ChannelOrder(ChannelSort sort, int group, std::vector<uint16_t> channels, ByteCharge charge);

  ChannelSort sort_;
  int group_;
  std::vector<uint16_t> channels_;
  ByteCharge charge_;
};

}  // namespace kvasir
