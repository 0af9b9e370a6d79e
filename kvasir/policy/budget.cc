#include "kvasir/policy/budget.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numeric>

namespace kvasir {
namespace {

int64_t Sum(std::span<const int64_t> x) { return std::accumulate(x.begin(), x.end(), int64_t{0}); }

// Real shares between floor and ceiling that sum to `total`. As in flexible layouts: give every
// free cell its proportion; where the clipped sum is too large, cells below their floor are fixed
// there, where it is too small, cells above their ceiling; repeat. Every round fixes a cell.
std::vector<double> Fill(std::span<const double> weights, int64_t total,
                         std::span<const int64_t> floors, std::span<const int64_t> ceilings) {
  const size_t n = weights.size();
  std::vector<double> share(n);
  std::vector<bool> fixed(n);
  while (true) {
    auto rest = static_cast<double>(total);
    double weight = 0, n_free = 0;
    for (size_t i = 0; i < n; ++i) {
      if (fixed[i]) {
        rest -= share[i];
      } else {
        weight += weights[i];
        ++n_free;
      }
    }
    const auto wanted = [&](size_t i) {
      return weight > 0 ? rest * (weights[i] / weight) : rest / n_free;
    };
    double clipped_by = 0;
    for (size_t i = 0; i < n; ++i) {
      if (fixed[i]) continue;
      share[i] =
          std::clamp(wanted(i), static_cast<double>(floors[i]), static_cast<double>(ceilings[i]));
      clipped_by += share[i] - wanted(i);
    }
    bool changed = false;
    for (size_t i = 0; i < n; ++i) {
      if (fixed[i]) continue;
      const bool at_floor = share[i] > wanted(i), at_ceiling = share[i] < wanted(i);
      if ((at_floor && clipped_by >= 0) || (at_ceiling && clipped_by <= 0)) {
        fixed[i] = changed = true;
      }
    }
    if (!changed) return share;
  }
}

}  // namespace

Result<double> BudgetAllocator::Observe(const ScoreContext&, const LayerScores&,
                                        AttendScratch&) const {
  return 0.0;
}

Result<std::vector<int64_t>> Apportion(std::span<const double> weights, int64_t total,
                                       std::span<const int64_t> floors,
                                       std::span<const int64_t> ceilings) {
  const size_t n = weights.size();
  assert(floors.size() == n && ceilings.size() == n);
  total = std::min(total, Sum(ceilings));
  if (Sum(floors) > total) {
    return Status::InvalidArgument(
        fmt::format("{} protected tokens do not fit a budget of {}", Sum(floors), total));
  }
  const std::vector<double> share = Fill(weights, total, floors, ceilings);
  std::vector<int64_t> whole(n);
  std::vector<size_t> order(n);
  std::iota(order.begin(), order.end(), size_t{0});
  for (size_t i = 0; i < n; ++i) whole[i] = static_cast<int64_t>(std::floor(share[i]));
  const auto remainder = [&](size_t i) { return share[i] - std::floor(share[i]); };
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return remainder(a) > remainder(b); });
  // One round is enough but for rounding of the shares themselves.
  for (int64_t rest = total - Sum(whole); rest > 0;) {
    for (size_t k = 0; k < n && rest > 0; ++k) {
      if (whole[order[k]] == ceilings[order[k]]) continue;
      ++whole[order[k]];
      --rest;
    }
  }
  return whole;
}

}  // namespace kvasir
