// Largest and smallest key per channel of a few tokens: what page summaries are folded from.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

namespace kvasir {

struct KeyExtremes {
  static constexpr int kChannels = 16;
  float high[kChannels], low[kChannels];

  // Channels [0, n_channel) of n > 0 rows. A channel with a key that is not finite spans
  // everything.
  KeyExtremes(int64_t n, const float* k, int64_t stride, int n_channel) {
    float defect[kChannels] = {};  // not 0 once a key is infinite or no number
    for (int c = 0; c < n_channel; ++c) high[c] = low[c] = k[c];
    for (int64_t i = 0; i < n; ++i, k += stride) {
      for (int c = 0; c < n_channel; ++c) {
        high[c] = std::max(high[c], k[c]);
        low[c] = std::min(low[c], k[c]);
        defect[c] += k[c] * 0.0f;
      }
    }
    for (int c = 0; c < n_channel; ++c) {
      if (defect[c] == 0.0f) continue;
      high[c] = std::numeric_limits<float>::infinity();
      low[c] = -high[c];
    }
  }
};

}  // namespace kvasir
