// From page scores to token ranges: group rules, the best k, runs of pages.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "kvasir/cache/segment.h"
#include "kvasir/cache/selector.h"

namespace kvasir {

// How the query heads of one kv head agree on what is read.
enum class GroupRule : uint8_t {
  kSum,   // pages of the largest sum over the heads of each head's softmax over all pages
  kMax,   // pages of the largest score of any head
  kHead,  // every head its own pages; what is read is their union
};
inline constexpr std::string_view kGroupRules = "sum|max|head";
GroupRule ParseGroupRule(std::string_view name);  // one of kGroupRules

// Turns dot-product bounds into logit bounds, in place: softcap, then bias. What is no number
// becomes large, and the padding behind n is never chosen.
//   scores  (n_row, stride), n <= stride, a multiple of 16; bias null or (stride)
void ShapeScores(const QueryRows& rows, int64_t n, int64_t stride, const float* bias,
                 float* scores);
// The best score of every `fold` consecutive units, in place; returns how many there are.
int64_t FoldScores(int n_row, int64_t n, int64_t stride, int fold, float* scores);

// Marks the k best of n units, forced ones first; of equals, the newest. 0 < k <= n.
//   forced  units below `n_first` and from `last` on; at most k
struct Forced {
  int64_t n_first = 0;
  int64_t last = 0;
};
// Marks by the group rule. The marks are added to `chosen` (n), and the scores are used up.
//   reduced  (stride) working memory
void MarkBest(GroupRule rule, int n_row, int64_t n, int64_t stride, int64_t k, Forced forced,
              float* scores, float* reduced, uint8_t* chosen);

// Marked units of `unit_tokens` tokens as token ranges, the last cut at n_kv; runs are joined.
// False when that is everything.
bool MarkedRanges(const uint8_t* chosen, int64_t n, int64_t unit_tokens, int64_t n_kv,
                  std::vector<IndexRange>* ranges);
// How many tokens of [begin, end) lie in none of `ranges`. Walks forward: `at` starts as 0 and
// calls come with ascending begin.
int64_t CountSkipped(const std::vector<IndexRange>& ranges, int64_t begin, int64_t end, size_t* at);

}  // namespace kvasir
