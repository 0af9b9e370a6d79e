// What reducers share.
#pragma once

#include "kvasir/policy/scorer.h"

namespace kvasir {

// One row out of all rows of `in`, combined by `op` in order.
template <typename Op>
HeadScores FoldRows(const HeadScores& in, const Op& op) {
  HeadScores out(1, in.n);
  for (int64_t t = 0; t < in.n; ++t) {
    float x = in.row(0)[t];
    for (int r = 1; r < in.n_row; ++r) x = op(x, in.row(r)[t]);
    out.at[t] = x;
  }
  return out;
}

inline float Add(float a, float b) { return a + b; }

}  // namespace kvasir
