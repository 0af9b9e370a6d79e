// Attention of a chunk of a prompt over what a mask chooses for it.
#pragma once

#include <span>

#include "kvasir/cache/prefill_mask.h"
#include "kvasir/cache/sequence_cache.h"

namespace kvasir {

// One layer. Views borrow.
struct SparseLayer {
  const CacheShape& shape;
  const PrefillMask& mask;
  std::span<const SegmentList> lists;   // by kv head
  std::span<const HeadWindow> windows;  // by kv head, or empty; heads with one are read by it
};

// What a thread's ReservePrefill must hold where the longest list has n_kv tokens in n_tile tiles.
int64_t PrefillBytes(const CacheShape& shape, const PrefillMask& mask, int64_t n_kv,
                     int64_t n_tile);

// Whether the queries are those of the newest tokens of every list, at positions without holes:
// what AttendSparsely takes.
bool IsNewestChunk(const SparseLayer& layer, const LayerQueries& queries);

// As SequenceCache::Attend of several tokens, for a layer without a window. The same bits for any
// thread count, and for any way of dividing the tokens into calls at multiples of kPrefillBlock.
// Where a mask chooses everything, and in blocks of a single token, the bits of
// SequenceCache::Attend.
//
// Norms, where they are wanted, are those over all held tokens: rows that did not read everything
// are attended once more for them.
Status AttendSparsely(const SparseLayer& layer, const LayerQueries& queries, ThreadTeam& team,
                      AttendWorkspace& workspace, float* out);

}  // namespace kvasir
