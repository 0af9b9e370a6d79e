// The choice that classifiers of retrieval heads share.
#pragma once

#include <span>
#include <vector>

#include "kvasir/policy/head_table.h"

namespace kvasir {

// The best ceil(share * n) heads among those of layers without a sliding window, as indices into
// `scores`: (n_layer, heads_per_layer).
inline std::vector<int32_t> BestFullLayerHeads(std::span<const float> scores, int heads_per_layer,
                                               const CacheShape& shape, double share) {
  std::vector<int32_t> heads;
  std::vector<float> candidates;
  for (size_t i = 0; i < scores.size(); ++i) {
    const size_t layer = i / static_cast<size_t>(heads_per_layer);
    if (layer < shape.window.size() && shape.window[layer] > 0) continue;
    heads.push_back(static_cast<int32_t>(i));
    candidates.push_back(scores[i]);
  }
  std::vector<int32_t> best = TopShare(candidates, share);
  for (int32_t& index : best) index = heads[index];
  return best;
}

}  // namespace kvasir
