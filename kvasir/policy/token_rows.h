// Held tokens as f32 rows, for scorers and dispositions that read keys and values.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "kvasir/cache/segment_list.h"

namespace kvasir {

inline float Norm(const float* x, int n) {
  float sum = 0;
  for (int j = 0; j < n; ++j) sum += x[j] * x[j];
  return std::sqrt(sum);
}

// Calls visit(index, k_roped, v) for every held token, in order.
template <typename Visit>
Status VisitRows(const SegmentList& list, const Visit& visit) {
  constexpr int64_t kBlock = 256;  // tokens rebuilt at a time
  const int d = list.tail().layout().head_dim;
  std::vector<float> k(static_cast<size_t>(kBlock) * d), v(k.size());
  for (int64_t begin = 0; begin < list.n_kv(); begin += kBlock) {
    const int64_t end = std::min(begin + kBlock, list.n_kv());
    KVASIR_RETURN_IF_ERROR(list.Decode(begin, end, k.data(), v.data()));
    for (int64_t t = begin; t < end; ++t) {
      visit(t, &k[static_cast<size_t>(t - begin) * d], &v[static_cast<size_t>(t - begin) * d]);
    }
  }
  return Status::Ok();
}

}  // namespace kvasir
