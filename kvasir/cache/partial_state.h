// Partial softmax states: attention over a subset of a sequence's tokens, mergeable exactly.
#pragma once

#include <cstdint>
#include <vector>

#include "kvasir/kernels/attend.h"

namespace kvasir {

// States of `n_row` queries of one kv head, structure of arrays. For row r, with base-2 logits x_t:
//   exponent[r]          integer-valued e; -inf while empty
//   sum[r*16 .. +16]     weights 2^(x_t - e), lane = index of t in its list modulo 16
//   acc[r*d_pad .. ]     sum of 2^(x_t - e) * value_t, not divided by the sum
// The exponent is an integer so that rescaling is exact; kernels/attend.h says how it moves. Views
// borrow.
struct StateView {
  int n_row = 0;
  int d_pad = 0;
  float* exponent = nullptr;
  float* sum = nullptr;
  float* acc = nullptr;

  StateView Rows(int begin, int n) const {
    return {n, d_pad, exponent + begin, sum + begin * 16,
            acc + static_cast<int64_t>(begin) * d_pad};
  }
};

// Floats that back `n_row` states.
constexpr int64_t StateFloats(int n_row, int d_pad) {
  return static_cast<int64_t>(n_row) * (17 + d_pad);
}
// A view over StateFloats(n_row, d_pad) floats.
StateView MakeStateView(float* memory, int n_row, int d_pad);

// Makes every row empty: the identity of Merge.
void ResetStates(const StateView& states);
// into = into merged with from, row by row; the tokens behind the two must be disjoint. Merging
// with an empty state changes no bit. Order matters to rounding only.
void MergeStates(const StateView& into, const StateView& from);
// Sum of a row's 16 lanes, in one fixed order.
float TotalWeight(const float* sum);
// out[r * out_stride + c] = attention output, c < head_dim; zeros for an empty row.
void FinishStates(const StateView& states, int head_dim, float* out, int64_t out_stride);
// ln sum_t exp(logit_t) of a row; -inf while empty.
float LogSumExp(const StateView& states, int row);

}  // namespace kvasir
