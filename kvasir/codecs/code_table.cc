#include "kvasir/codecs/code_table.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <numbers>

namespace kvasir {
namespace {

// Weighted points on a line.
struct Histogram {
  std::vector<double> at, weight;
};

// Moves each value to the mean of the points nearest to it, a fixed number of times.
void Iterate(const Histogram& points, int rounds, std::vector<float>& table) {
  std::vector<double> sum(table.size()), weight(table.size());
  for (int round = 0; round < rounds; ++round) {
    std::ranges::fill(sum, 0);
    std::ranges::fill(weight, 0);
    size_t nearest = 0;
    for (size_t i = 0; i < points.at.size(); ++i) {
      while (nearest + 1 < table.size() &&
             points.at[i] > (double{table[nearest]} + table[nearest + 1]) / 2) {
        ++nearest;
      }
      sum[nearest] += points.at[i] * points.weight[i];
      weight[nearest] += points.weight[i];
    }
    for (size_t c = 0; c < table.size(); ++c) {
      if (weight[c] > 0) table[c] = static_cast<float>(sum[c] / weight[c]);
    }
  }
}

// Values at equal shares of the weight: where Lloyd's iteration starts.
std::vector<float> Quantiles(const Histogram& points, int n) {
  double total = 0;
  for (double w : points.weight) total += w;
  std::vector<float> table;
  double below = 0;
  for (size_t i = 0; i < points.at.size(); ++i) {
    below += points.weight[i];
    while (static_cast<int>(table.size()) < n &&
           below >= total * (static_cast<double>(table.size()) + 0.5) / n) {
      table.push_back(static_cast<float>(points.at[i]));
    }
  }
  table.resize(n, static_cast<float>(points.at.back()));
  return table;
}

// Lloyd's iteration for N(0, 1): each value moves to the mean of the stretch that is nearest to it.
std::vector<float> MakeNormalTable(int bits) {
  const int n = 1 << bits;
  const auto density = [](double x) {
    return std::exp(-x * x / 2) / std::sqrt(2 * std::numbers::pi);
  };
  const auto below = [](double x) { return std::erfc(-x / std::numbers::sqrt2) / 2; };
  std::vector<double> value(n);
  for (int i = 0; i < n; ++i) value[i] = 4.0 * (i + 0.5) / n - 2.0;
  for (int round = 0; round < 2000; ++round) {
    double low = -40;  // of the stretch
    for (int i = 0; i < n; ++i) {
      const double high = i + 1 < n ? (value[i] + value[i + 1]) / 2 : 40;
      value[i] = (density(low) - density(high)) / (below(high) - below(low));
      low = high;
    }
  }
  return {value.begin(), value.end()};
}

}  // namespace

std::span<const float> NormalTable(int bits) {
  assert(bits >= 1 && bits <= 4);
  static const std::array<std::vector<float>, 4> kTables = {MakeNormalTable(1), MakeNormalTable(2),
                                                            MakeNormalTable(3), MakeNormalTable(4)};
  return kTables[bits - 1];
}

std::vector<float> FitTable(std::span<const float> x, int bits) {
  constexpr int kBins = 512;
  Histogram points;
  for (int i = 0; i < kBins; ++i) points.at.push_back(2.0 * (i + 0.5) / kBins - 1.0);
  points.weight.resize(kBins);
  for (float v : x) {
    const int bin = static_cast<int>((std::clamp(v, -1.0f, 1.0f) + 1.0f) * (kBins / 2));
    points.weight[std::min(bin, kBins - 1)] += 1;
  }
  if (x.empty()) std::ranges::fill(points.weight, 1);
  std::vector<float> table = Quantiles(points, 1 << bits);
  Iterate(points, 12, table);
  return table;
}

}  // namespace kvasir
