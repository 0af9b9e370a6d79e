#include "kvasir/policy/selectors/page_bounds.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "kvasir/kernels/attend.h"
#include "kvasir/kernels/half.h"
#include "kvasir/policy/selectors/key_extremes.h"

namespace kvasir {
namespace {

// The half next to `half` in the direction of +infinity; infinities and NaN stay.
uint16_t NextHalfUp(uint16_t half) {
  if ((half & 0x7c00) == 0x7c00 && half != 0xfc00) return half;
  if (half == 0x8000) return 0x0001;
  return static_cast<uint16_t>((half & 0x8000) != 0 ? half - 1 : half + 1);
}

uint16_t HalfNotBelow(float x) {
  const uint16_t half = FloatToHalf(x);
  return HalfToFloat(half) < x ? NextHalfUp(half) : half;
}

uint16_t HalfNotAbove(float x) { return HalfNotBelow(-x) ^ 0x8000; }

}  // namespace

PageBounds::PageBounds(int head_dim, SlabArena* arena)
    : head_dim_(head_dim),
      tiles_(arena, ByteKind::kIndex),
      magnitude_(arena, ByteKind::kIndex),
      bias_(arena, ByteKind::kIndex) {}

Status PageBounds::Append(int64_t n, const float* k, int64_t stride) {
  const int64_t n_page = (n_kv_ + n + kPageTokens - 1) / kPageTokens;
  const int64_t n_tile = (n_page + kTilePages - 1) / kTilePages;
  KVASIR_RETURN_IF_ERROR(magnitude_.Resize(head_dim_));
  if (!bias_.empty()) KVASIR_RETURN_IF_ERROR(bias_.Resize(n_tile * kTilePages));
  KVASIR_RETURN_IF_ERROR(tiles_.Resize(n_tile * tile_halves()));
  while (n > 0) {
    const int64_t slot = n_kv_ % kPageTokens;
    const int64_t n_here = std::min(n, kPageTokens - slot);
    Fold(n_kv_ / kPageTokens, slot == 0, n_here, k, stride);
    k += n_here * stride;
    n_kv_ += n_here;
    n -= n_here;
  }
  return Status::Ok();
}

void PageBounds::Fold(int64_t page, bool fresh, int64_t n, const float* k, int64_t stride) {
  uint16_t* max = tiles_.data() + MaxAt(page);
  uint16_t* min = max + head_dim_ * kTilePages;
  for (int first = 0; first < head_dim_; first += KeyExtremes::kChannels) {
    const int n_channel = std::min(KeyExtremes::kChannels, head_dim_ - first);
    const KeyExtremes keys(n, k + first, stride, n_channel);
    for (int i = 0; i < n_channel; ++i, max += kTilePages, min += kTilePages) {
      const uint16_t high = HalfNotBelow(keys.high[i]), low = HalfNotAbove(keys.low[i]);
      if (fresh || HalfToFloat(high) > HalfToFloat(*max)) *max = high;
      if (fresh || HalfToFloat(low) < HalfToFloat(*min)) *min = low;
      float& magnitude = magnitude_[first + i];
      magnitude = std::max({magnitude, std::fabs(HalfToFloat(high)), std::fabs(HalfToFloat(low))});
    }
  }
}

void PageBounds::Truncate(int64_t n) {
  assert(n <= n_kv_);
  n_kv_ = n;
  if (n == 0) std::fill_n(magnitude_.data(), magnitude_.size(), 0.0f);
  // Shrinking never allocates.
  static_cast<void>(tiles_.Resize(n_tile() * tile_halves()).ok());
  if (!bias_.empty()) static_cast<void>(bias_.Resize(n_tile() * kTilePages).ok());
}

Status PageBounds::SetBias(std::span<const float> page_bias) {
  if (page_bias.empty()) return bias_.Resize(0);
  KVASIR_RETURN_IF_ERROR(bias_.Resize(0));
  KVASIR_RETURN_IF_ERROR(bias_.Resize(n_tile() * kTilePages));
  std::copy(page_bias.begin(), page_bias.end(), bias_.data());
  return Status::Ok();
}

Result<PageBounds> PageBounds::Copy() const {
  PageBounds copy(head_dim_, nullptr);
  copy.n_kv_ = n_kv_;
  KVASIR_ASSIGN_OR_RETURN(copy.tiles_, tiles_.Copy());
  KVASIR_ASSIGN_OR_RETURN(copy.magnitude_, magnitude_.Copy());
  KVASIR_ASSIGN_OR_RETURN(copy.bias_, bias_.Copy());
  return copy;
}

void PageBounds::Score(const QueryRows& rows, float* q2, float* scores, int64_t stride) const {
  for (int r = 0; r < rows.n_row; ++r) {
    const float* q = rows.q + int64_t{r} * head_dim_;
    float* split = q2 + int64_t{2} * r * head_dim_;
    for (int c = 0; c < head_dim_; ++c) {
      split[c] = std::max(q[c], 0.0f);
      split[head_dim_ + c] = std::min(q[c], 0.0f);
    }
  }
  const AttendKernels& kernels = ActiveAttendKernels();
  const void* run[TileRun::kMaxTiles];
  for (int64_t tile = 0; tile < n_tile(); tile += TileRun::kMaxTiles) {
    const int n = static_cast<int>(std::min<int64_t>(TileRun::kMaxTiles, n_tile() - tile));
    for (int i = 0; i < n; ++i) run[i] = tiles_.data() + (tile + i) * tile_halves();
    kernels.logits_f16(q2, rows.n_row, 2 * head_dim_, run, n, /*ahead=*/nullptr,
                       scores + tile * kTilePages, static_cast<int>(stride));
  }
}

double PageBounds::Bound(int64_t page, const float* q) const {
  const uint16_t* max = tiles_.data() + MaxAt(page);
  const uint16_t* min = max + int64_t{head_dim_} * kTilePages;
  double bound = 0;
  for (int c = 0; c < head_dim_; ++c) {
    const uint16_t* side = q[c] >= 0 ? max : min;
    bound += double{q[c]} * HalfToFloat(side[c * kTilePages]);
  }
  return bound;
}

std::vector<double> PageBounds::Magnitudes(const QueryRows& rows) const {
  std::vector<double> magnitudes;
  for (int r = 0; r < rows.n_row; ++r) {
    double sum = 0;
    for (int c = 0; c < head_dim_; ++c) {
      sum += std::fabs(double{rows.q[int64_t{r} * head_dim_ + c]}) * magnitude_[c];
    }
    magnitudes.push_back(sum);
  }
  return magnitudes;
}

}  // namespace kvasir
