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

}  // namespace kvasir
