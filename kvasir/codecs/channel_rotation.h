// Block Hadamard rotation of a head's channels, with optional random signs before it.
#pragma once

#include <vector>

#include "kvasir/cache/coded_segment.h"

namespace kvasir {

// Blocks are HadamardBlock(head_dim) channels: the whole head where it is a power of two. An odd
// head_dim is left as it is. Immutable.
class HadamardRotation final : public ChannelRotation {
 public:
  HadamardRotation(int head_dim, bool random_signs);

  bool operator==(const HadamardRotation&) const = default;
  void Forward(float* row) const override;
  void Backward(float* row) const override;
  // Backward for the 16 columns of a tile (head_dim, 16).
  void BackwardLanes(float* tile) const;

 private:
  int head_dim_;
  std::vector<float> signs_;  // (head_dim) of +-1, the same in every run; empty = none
};

}  // namespace kvasir
