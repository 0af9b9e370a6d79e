#include "kvasir/policy/selectors/page_choice.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <limits>

#include "kvasir/kernels/attend.h"

namespace kvasir {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
// Finite, so that differences to the padding stay numbers.
constexpr float kLarge = std::numeric_limits<float>::max();

// Order of floats as order of integers.
uint32_t SortKey(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  return (bits & 0x80000000) != 0 ? ~bits : bits | 0x80000000;
}

// The k-th largest key of x: three rounds of counting, 11 bits each, high bits first.
uint32_t KthLargest(const float* x, int64_t n, int64_t k) {
  uint32_t prefix = 0, mask = 0;
  for (int shift : {21, 10, 0}) {
    const uint32_t digits = shift == 0 ? 0x3ff : 0x7ff;
    std::array<int32_t, 2048> count{};
    for (int64_t i = 0; i < n; ++i) {
      const uint32_t key = SortKey(x[i]);
      if ((key & mask) == prefix) ++count[key >> shift & digits];
    }
    uint32_t digit = digits;
    for (; k > count[digit]; --digit) k -= count[digit];
    prefix |= digit << shift;
    mask |= digits << shift;
  }
  return prefix;
}

void MarkTop(const float* x, int64_t n, int64_t k, uint8_t* chosen) {
  assert(k > 0 && k <= n);
  const uint32_t threshold = KthLargest(x, n, k);
  int64_t n_left = k;
  for (int64_t i = 0; i < n; ++i) {
    if (SortKey(x[i]) > threshold) {
      chosen[i] = 1;
      --n_left;
    }
  }
  for (int64_t i = n - 1; i >= 0 && n_left > 0; --i) {
    if (SortKey(x[i]) == threshold) {
      chosen[i] = 1;
      --n_left;
    }
  }
}

void MarkForcedTop(float* x, int64_t n, int64_t k, Forced forced, uint8_t* chosen) {
  std::fill(x, x + std::min(forced.n_first, n), kInfinity);
  std::fill(x + std::min(forced.last, n), x + n, kInfinity);
  MarkTop(x, n, k, chosen);
}

// x = softmax(x) over a whole row, whose padding is -inf.
void Softmax(float* x, int64_t stride) {
  const AttendKernels& kernels = ActiveAttendKernels();
  const int n_tile = static_cast<int>(stride / kTileTokens);
  const float max = kernels.max_row(x, n_tile, nullptr);
  if (max == -kInfinity) return;
  float sum[16] = {};
  kernels.weigh_row(x, n_tile, nullptr, 0, max, sum);
  const float scale = 1.0f / TotalWeight(sum);
  for (int64_t i = 0; i < stride; ++i) x[i] *= scale;
}

}  // namespace

GroupRule ParseGroupRule(std::string_view name) {
  if (name == "sum") return GroupRule::kSum;
  return name == "max" ? GroupRule::kMax : GroupRule::kHead;
}

void ShapeScores(const QueryRows& rows, int64_t n, int64_t stride, const float* bias,
                 float* scores) {
  const AttendKernels& kernels = ActiveAttendKernels();
  for (int r = 0; r < rows.n_row; ++r) {
    float* x = scores + r * stride;
    if (bias != nullptr || rows.softcap > 0) {
      kernels.shape_row(x, static_cast<int>(stride / kTileTokens), bias, rows.softcap);
    }
    for (int64_t i = 0; i < n; ++i) x[i] = x[i] < kLarge ? std::max(x[i], -kLarge) : kLarge;
    std::fill(x + n, x + stride, -kInfinity);
  }
}

int64_t FoldScores(int n_row, int64_t n, int64_t stride, int fold, float* scores) {
  const int64_t n_folded = (n + fold - 1) / fold;
  for (int r = 0; r < n_row; ++r) {
    float* x = scores + r * stride;
    for (int64_t i = 0; i < n_folded; ++i) {
      x[i] = *std::max_element(x + i * fold, x + std::min(n, (i + 1) * fold));
    }
    std::fill(x + n_folded, x + stride, -kInfinity);
  }
  return n_folded;
}

void MarkBest(GroupRule rule, int n_row, int64_t n, int64_t stride, int64_t k, Forced forced,
              float* scores, float* reduced, uint8_t* chosen) {
  if (rule == GroupRule::kHead) {
    for (int r = 0; r < n_row; ++r) MarkForcedTop(scores + r * stride, n, k, forced, chosen);
    return;
  }
  for (int r = 0; r < n_row; ++r) {
    float* x = scores + r * stride;
    if (rule == GroupRule::kSum) Softmax(x, stride);
    if (r == 0) {
      std::copy(x, x + stride, reduced);
    } else if (rule == GroupRule::kSum) {
      for (int64_t i = 0; i < stride; ++i) reduced[i] += x[i];
    } else {
      for (int64_t i = 0; i < stride; ++i) reduced[i] = std::max(reduced[i], x[i]);
    }
  }
  MarkForcedTop(reduced, n, k, forced, chosen);
}

bool MarkedRanges(const uint8_t* chosen, int64_t n, int64_t unit_tokens, int64_t n_kv,
                  std::vector<IndexRange>* ranges) {
  ranges->clear();
  for (int64_t i = 0; i < n; ++i) {
    if (chosen[i] == 0) continue;
    const int64_t begin = i * unit_tokens;
    const int64_t end = std::min(n_kv, begin + unit_tokens);
    if (!ranges->empty() && ranges->back().end == begin) {
      ranges->back().end = end;
    } else {
      ranges->push_back({begin, end});
    }
  }
  return ranges->size() != 1 || ranges->front().begin != 0 || ranges->front().end != n_kv;
}

int64_t CountSkipped(const std::vector<IndexRange>& ranges, int64_t begin, int64_t end,
                     size_t* at) {
  while (*at < ranges.size() && ranges[*at].end <= begin) ++*at;
  int64_t attended = 0;
  for (size_t i = *at; i < ranges.size() && ranges[i].begin < end; ++i) {
    attended += std::min(end, ranges[i].end) - std::max(begin, ranges[i].begin);
  }
  return end - begin - attended;
}

}  // namespace kvasir
