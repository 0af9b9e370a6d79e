#include "kvasir/codecs/channel_rotation.h"

#include <random>

#include "kvasir/kernels/hadamard.h"

namespace kvasir {

HadamardRotation::HadamardRotation(int head_dim, bool random_signs) : head_dim_(head_dim) {
  if (!random_signs) return;
  std::mt19937 bits(static_cast<uint32_t>(head_dim));
  for (int c = 0; c < head_dim; ++c) signs_.push_back(bits() & 1 ? 1.0f : -1.0f);
}

void HadamardRotation::Forward(float* row) const {
  for (size_t c = 0; c < signs_.size(); ++c) row[c] *= signs_[c];
  ActiveHadamardKernels().row(row, head_dim_, HadamardBlock(head_dim_));
}

void HadamardRotation::Backward(float* row) const {
  ActiveHadamardKernels().row(row, head_dim_, HadamardBlock(head_dim_));
  for (size_t c = 0; c < signs_.size(); ++c) row[c] *= signs_[c];
}

void HadamardRotation::BackwardLanes(float* tile) const {
  ActiveHadamardKernels().lanes(tile, head_dim_, HadamardBlock(head_dim_));
  for (size_t c = 0; c < signs_.size(); ++c) {
    for (int t = 0; t < kTileTokens; ++t) tile[c * kTileTokens + t] *= signs_[c];
  }
}

}  // namespace kvasir
