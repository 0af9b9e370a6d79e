#include "kvasir/codecs/calibration.h"

#include <algorithm>
#include <cmath>

#include "kvasir/codecs/code_table.h"

namespace kvasir {

KvCalibration::Head CalibrateKeys(std::span<const float> k_raw, int head_dim, double outside) {
  KvCalibration::Head head;
  const size_t n = k_raw.size() / head_dim;
  const auto skip =
      std::min(static_cast<size_t>(outside / 2 * static_cast<double>(n)), (n - 1) / 2);
  std::vector<float> channel(n);
  for (int c = 0; c < head_dim; ++c) {
    for (size_t t = 0; t < n; ++t) channel[t] = k_raw[t * head_dim + c];
    std::ranges::sort(channel);
    head.k_low.push_back(channel[skip]);
    head.k_high.push_back(channel[n - 1 - skip]);
  }
  return head;
}

std::vector<float> CalibrateKeyTable(std::span<const float> k_raw, const KvCalibration::Head& head,
                                     int bits) {
  std::vector<float> scaled;
  const size_t head_dim = head.k_low.size();
  for (size_t e = 0; e < k_raw.size(); ++e) {
    const float low = head.k_low[e % head_dim], high = head.k_high[e % head_dim];
    if (high > low && k_raw[e] >= low && k_raw[e] <= high) {
      scaled.push_back((k_raw[e] - low) / (high - low) * 2 - 1);
    }
  }
  return FitTable(scaled, bits);
}

}  // namespace kvasir
