// How far one distribution over the next token is from another.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kvasir/sampling.h"

namespace kvasir {

struct RowDivergence {
  double kl = 0;         // KL(reference || other), nats; 0 for equal rows, to the bit
  bool same_top = true;  // both have the same most likely token, ties to the lower id
  double nll = 0;        // of the target under `other`; 0 without one
  double reference_nll = 0;
};

// Rows of logits of equal length, all finite; `target` -1 = none. Sums run in double.
RowDivergence CompareLogits(std::span<const float> reference, std::span<const float> other,
                            TokenId target);

// Negative log-likelihood of a token under a row of logits.
double NegativeLogLikelihood(std::span<const float> logits, TokenId target);

// The same over a set of positions.
struct PositionErrors {
  std::vector<int32_t> pos;  // of the token whose logits are compared; ascending
  std::vector<double> kl;
  std::vector<uint8_t> agrees;  // top-1
  std::vector<double> nll;      // of the next token; a last position without one is left out
  std::vector<double> reference_nll;

  void Add(int32_t at, const RowDivergence& row, bool has_target);
};

struct ErrorSummary {
  double kl_mean = 0, kl_p50 = 0, kl_p99 = 0, kl_worst = 0;
  int32_t worst_pos = -1;                           // where kl_worst is; -1 for no positions
  double top1 = 1;                                  // share of positions that agree
  double perplexity = 0, reference_perplexity = 0;  // 0 where no token was predicted
};
ErrorSummary SummarizeErrors(const PositionErrors& errors);

// |a - b| / |b| in the Euclidean norm; 0 where both are zero, infinity where b alone is.
double RelativeL2(std::span<const float> a, std::span<const float> b);

}  // namespace kvasir
