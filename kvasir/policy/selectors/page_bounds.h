// Smallest and largest key per channel of every page of 16 tokens: Quest, arXiv:2406.10774.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kvasir/cache/segment.h"
#include "kvasir/policy/selectors/charged_array.h"
#include "kvasir/policy/selectors/head_index.h"

namespace kvasir {

// Bounds of one (layer, kv head) in f16, rounded outward, so that they bound the keys as f32 and as
// f16 alike. Sixteen pages are a tile, laid out as a K tile of twice the channels:
//   tile  (2, head_dim, 16): largest of the 16 pages by channel, then smallest
// With the query split into its positive and its negative part the bound of a page is one dot
// product, and the logit kernel computes it.
// After a truncation inside a page its bounds still cover what was cut off.
class PageBounds {
 public:
  PageBounds(int head_dim, SlabArena* arena);

  int64_t n_kv() const { return n_kv_; }
  int64_t n_page() const { return (n_kv_ + kPageTokens - 1) / kPageTokens; }
  int64_t n_tile() const { return (n_page() + kTilePages - 1) / kTilePages; }
  int64_t bytes() const { return tiles_.bytes() + magnitude_.bytes() + bias_.bytes(); }

  // As HeadIndex.
  Status Append(int64_t n, const float* k, int64_t stride);
  void Truncate(int64_t n);
  Status SetBias(std::span<const float> page_bias);
  Result<PageBounds> Copy() const;

  // (n_tile * 16), or null: no key has a bias.
  const float* bias() const { return bias_.empty() ? nullptr : bias_.data(); }
  // scores[r * stride + page] >= q_r . k for all keys of the page, up to f32 rounding.
  //   q2  (n_row, 2 * head_dim) working memory; stride >= 16 * n_tile
  void Score(const QueryRows& rows, float* q2, float* scores, int64_t stride) const;
  // The same for one page, exact to f64.
  double Bound(int64_t page, const float* q) const;
  // At least sum_c |q_c k_c| for every key ever held, by row.
  std::vector<double> Magnitudes(const QueryRows& rows) const;

 private:
  static constexpr int kTilePages = kTileTokens;
  int64_t tile_halves() const { return int64_t{2} * head_dim_ * kTilePages; }
  // Element of channel 0 of a page's largest keys; channels are kTilePages apart.
  int64_t MaxAt(int64_t page) const {
    return page / kTilePages * tile_halves() + page % kTilePages;
  }
  void Fold(int64_t page, bool fresh, int64_t n, const float* k, int64_t stride);

  int head_dim_;
  int64_t n_kv_ = 0;
  ChargedArray<uint16_t> tiles_;
  ChargedArray<float> magnitude_;  // (head_dim) largest |bound| ever, by channel
  ChargedArray<float> bias_;       // (n_tile * 16)
};

}  // namespace kvasir
