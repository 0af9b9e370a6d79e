// Summaries of repeated measurements.
#pragma once

#include <span>

namespace kvasir {

struct Summary {
  double mean = 0;
  double stddev = 0;  // of the sample (n - 1); 0 for a single value
  double median = 0;  // of an even count: the mean of the two in the middle
  double min = 0, max = 0;
};

// All zero for no values.
Summary Summarize(std::span<const double> values);

// The smallest value that at least `share` of the values do not pass: 0.99 gives the 99th
// percentile. 0 for no values.
double Quantile(std::span<const double> values, double share);

}  // namespace kvasir
