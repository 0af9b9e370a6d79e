#include "kvasir/measure/divergence.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>

#include "kvasir/measure/statistics.h"

namespace kvasir {
namespace {

struct Normaliser {
  size_t top = 0;      // index of the largest, ties to the lower
  double log_sum = 0;  // natural log of the sum of exponentials
};

Normaliser Normalise(std::span<const float> logits) {
  Normaliser n;
  n.top = static_cast<size_t>(std::ranges::max_element(logits) - logits.begin());
  const double max = logits[n.top];
  double sum = 0;
  for (const float x : logits) sum += std::exp(x - max);
  n.log_sum = max + std::log(sum);
  return n;
}

double MeanExp(const std::vector<double>& nll) {
  return nll.empty() ? 0 : std::exp(Summarize(nll).mean);
}

}  // namespace

RowDivergence CompareLogits(std::span<const float> reference, std::span<const float> other,
                            TokenId target) {
  assert(reference.size() == other.size() && !other.empty());
  const Normaliser p = Normalise(reference), q = Normalise(other);
  RowDivergence row;
  for (size_t i = 0; i < reference.size(); ++i) {
    const double log_p = reference[i] - p.log_sum;
    row.kl += std::exp(log_p) * (log_p - (other[i] - q.log_sum));
  }
  row.kl = std::max(0.0, row.kl);  // what rounding leaves of rows that are nearly equal
  row.same_top = p.top == q.top;
  if (target >= 0) {
    row.nll = q.log_sum - other[static_cast<size_t>(target)];
    row.reference_nll = p.log_sum - reference[static_cast<size_t>(target)];
  }
  return row;
}

double NegativeLogLikelihood(std::span<const float> logits, TokenId target) {
  return Normalise(logits).log_sum - logits[static_cast<size_t>(target)];
}

void PositionErrors::Add(int32_t at, const RowDivergence& row, bool has_target) {
  pos.push_back(at);
  kl.push_back(row.kl);
  agrees.push_back(row.same_top);
  if (!has_target) return;
  nll.push_back(row.nll);
  reference_nll.push_back(row.reference_nll);
}

ErrorSummary SummarizeErrors(const PositionErrors& errors) {
  ErrorSummary s;
  s.perplexity = MeanExp(errors.nll);
  s.reference_perplexity = MeanExp(errors.reference_nll);
  if (errors.pos.empty()) return s;
  const auto worst = std::ranges::max_element(errors.kl);
  s.kl_mean = Summarize(errors.kl).mean;
  s.kl_p50 = Quantile(errors.kl, 0.5);
  s.kl_p99 = Quantile(errors.kl, 0.99);
  s.kl_worst = *worst;
  s.worst_pos = errors.pos[static_cast<size_t>(worst - errors.kl.begin())];
  const auto n_agree = std::count(errors.agrees.begin(), errors.agrees.end(), uint8_t{1});
  s.top1 = static_cast<double>(n_agree) / static_cast<double>(errors.pos.size());
  return s;
}

double RelativeL2(std::span<const float> a, std::span<const float> b) {
  assert(a.size() == b.size());
  double difference = 0, norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double d = double{a[i]} - b[i];
    difference += d * d;
    norm += double{b[i]} * b[i];
  }
  if (difference == 0) return 0;
  return norm > 0 ? std::sqrt(difference / norm) : std::numeric_limits<double>::infinity();
}

}  // namespace kvasir
