// Moments of the attention that the last queries pay, per query head and token: what CAKE reads.
#pragma once

#include <vector>

#include "kvasir/policy/scorer.h"

namespace kvasir {

struct WindowMoments {
  int group = 0;
  int64_t n = 0;
  std::vector<double> mean;      // (group, n)
  std::vector<double> variance;  // (group, n) over the queries
  // -sum of p ln(p + 1e-10) over the query heads, queries and tokens before the window.
  double entropy = 0;
};

Result<WindowMoments> ComputeWindowMoments(const ScoreContext& context, int kv_head, int window,
                                           AttendScratch& scratch);

}  // namespace kvasir
