#include "kvasir/codecs/channel_rotation.h"

#include <random>

#include "kvasir/kernels/hadamard.h"

namespace kvasir {

ChannelBasis::ChannelBasis(int head_dim, bool hadamard, bool random_signs)
    : head_dim_(head_dim), hadamard_(hadamard) {
  if (!hadamard || !random_signs) return;
  std::mt19937 bits(static_cast<uint32_t>(head_dim));
  for (int c = 0; c < head_dim; ++c) signs_.push_back(bits() & 1 ? 1.0f : -1.0f);
}

void ChannelBasis::Forward(float* row) const {
  for (size_t c = 0; c < signs_.size(); ++c) row[c] *= signs_[c];
  if (hadamard_) ActiveHadamardKernels().row(row, head_dim_, HadamardBlock(head_dim_));
  if (order_ != nullptr) order_->Forward(row);
}

void ChannelBasis::Backward(float* row) const {
  if (order_ != nullptr) order_->Backward(row);
  if (hadamard_) ActiveHadamardKernels().row(row, head_dim_, HadamardBlock(head_dim_));
  for (size_t c = 0; c < signs_.size(); ++c) row[c] *= signs_[c];
}

bool ChannelBasis::SameAs(const ChannelRotation& other) const {
  if (this == &other) return true;
  const auto* basis = dynamic_cast<const ChannelBasis*>(&other);
  // Signs follow from head_dim_.
  return basis != nullptr && basis->head_dim_ == head_dim_ && basis->hadamard_ == hadamard_ &&
         basis->signs_.empty() == signs_.empty() && basis->order_ == order_;
}

void ChannelBasis::BackwardLanes(float* tile) const {
  if (order_ != nullptr) order_->BackwardLanes(tile);
  if (hadamard_) ActiveHadamardKernels().lanes(tile, head_dim_, HadamardBlock(head_dim_));
  for (size_t c = 0; c < signs_.size(); ++c) {
    for (int t = 0; t < kTileTokens; ++t) tile[c * kTileTokens + t] *= signs_[c];
  }
}

}  // namespace kvasir
