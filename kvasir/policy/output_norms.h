// What values do to the hidden state: the length of W_O v, which a value's own length only hints
// at. CriticalKV, arXiv:2502.03805.
#pragma once

#include <span>

#include "kvasir/cache/segment_list.h"
#include "kvasir/policy/policy.h"

namespace kvasir {

// For every token of one kv head's list: the sum of |W_O v| over the channels of the hidden state,
// for the value by itself, mean over the query heads that share it. `norms` (n_kv).
Status OutputNorms(const PolicyTarget& target, int layer, int kv_head, const SegmentList& list,
                   std::span<float> norms);
// Scratch that one call takes.
int64_t OutputNormsBytes(const PolicyTarget& target);

}  // namespace kvasir
