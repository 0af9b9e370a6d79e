// The change of channels that a format applies to rows before it encodes them.
#pragma once

#include <memory>
#include <vector>

#include "kvasir/cache/coded_segment.h"
#include "kvasir/codecs/channel_order.h"

namespace kvasir {

// A block Hadamard rotation, with optional random signs before it, and then an order. Blocks are
// HadamardBlock(head_dim) channels: the whole head where it is a power of two. An odd head_dim is
// not rotated. Immutable.
class ChannelBasis final : public ChannelRotation {
 public:
  ChannelBasis(int head_dim, bool hadamard, bool random_signs);

  // The same and then `order`; null = none.
  void set_order(std::shared_ptr<const ChannelOrder> order) { order_ = std::move(order); }
  const std::shared_ptr<const ChannelOrder>& order() const { return order_; }
  // Whether it changes anything.
  bool changes() const { return hadamard_ || order_ != nullptr; }

  void Forward(float* row) const override;
  void Backward(float* row) const override;
  bool SameAs(const ChannelRotation& other) const override;
  // Backward for the 16 columns of a tile (head_dim, 16).
  void BackwardLanes(float* tile) const;

 private:
  int head_dim_;
  bool hadamard_;
  std::vector<float> signs_;  // (head_dim) of +-1, the same in every run; empty = none
  std::shared_ptr<const ChannelOrder> order_;
};

}  // namespace kvasir
