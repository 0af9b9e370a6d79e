// Closing the holes that a cut leaves in the angles of keys.
//
// Tokens of a list always have contiguous angles that end where the next token's begins: before the
// first cut those of their positions, afterwards as many as there are held. All lists end at the
// same angle, which is the number of tokens that the longest one holds.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "kvasir/cache/sequence_cache.h"
#include "kvasir/codecs/rope_table.h"
#include "kvasir/core/thread_team.h"

namespace kvasir {

// One cut of one sequence: made before the cut, applied after it.
class Renumbering {
 public:
  // Errors: kOutOfMemory for tables of angles; kInvalidArgument without RoPE.
  static Result<Renumbering> Prepare(const SequenceCache& cache,
                                     const std::function<const Rope*(int layer)>& rope);

  // The tokens that a cut left in a list: ascending indices into what it held before.
  void Cut(int layer, int kv_head, std::span<const int32_t> kept);
  // Turns all lists of layers without a window, and the cache's next angle. Tails become segments,
  // whose stored keys stay as they are, whatever cuts follow. Charges nothing.
  // The positions by which the next token's angle moved, <= 0.
  Result<int32_t> Apply(ThreadTeam& team, SequenceCache& cache) &&;

 private:
  struct List {
    const Rope* rope = nullptr;              // null in layers with a window
    std::shared_ptr<const RopeTable> table;  // held, so that turning needs no other
    int64_t n_before = 0;
    bool cut = false;
    std::vector<int32_t> kept;
  };
  Status Turn(const List& change, SegmentList& list) const;

  ByteLedger* ledger_ = nullptr;
  int n_kv_head_ = 0;
  int32_t end_before_ = 0;
  int32_t end_ = 0;
  std::vector<List> lists_;  // by (layer, kv head)
};

}  // namespace kvasir
