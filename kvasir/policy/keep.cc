#include "kvasir/policy/keep.h"

#include <algorithm>
#include <limits>

namespace kvasir {
namespace {

float Rank(float score) { return score == score ? score : -std::numeric_limits<float>::infinity(); }

}  // namespace

bool RanksBefore(const RankedToken& a, const RankedToken& b) {
  const float x = Rank(a.score), y = Rank(b.score);
  if (x != y) return x > y;
  return a.index != b.index ? a.index < b.index : a.cell < b.cell;
}

void AppendOthers(const KeepCell& cell, std::span<const int32_t> kept, int32_t cell_index,
                  std::vector<RankedToken>* out) {
  auto next = kept.begin();
  for (int32_t i = 0; i < static_cast<int32_t>(cell.score.size()); ++i) {
    if (next != kept.end() && *next == i) {
      ++next;
    } else {
      out->push_back({cell.score[i], i, cell_index});
    }
  }
}

std::vector<int32_t> KeepBest(const KeepCell& cell) {
  std::vector<int32_t> kept;
  for (int32_t i = 0; i < static_cast<int32_t>(cell.is_protected.size()); ++i) {
    if (cell.is_protected[i]) kept.push_back(i);
  }
  std::vector<RankedToken> others;
  AppendOthers(cell, kept, 0, &others);
  const int64_t room = std::max<int64_t>(0, cell.budget - static_cast<int64_t>(kept.size()));
  const auto n = std::min<int64_t>(room, static_cast<int64_t>(others.size()));
  std::nth_element(others.begin(), others.begin() + n, others.end(), RanksBefore);
  for (int64_t i = 0; i < n; ++i) kept.push_back(others[i].index);
  std::sort(kept.begin(), kept.end());
  return kept;
}

}  // namespace kvasir
