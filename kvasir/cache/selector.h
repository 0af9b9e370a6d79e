// Reading little of a cache that keeps everything: which held tokens a decode step attends to.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kvasir/cache/segment_list.h"

namespace kvasir {

// Page summaries and the choice made from them, for one sequence. Summaries are arrays of the
// selector's own, never behind the pages. Different (layer, kv_head) pairs may be used from
// different threads at once. What is bounded are the keys as handed over: where a lossy
// codec has replaced some, truncate to before them and append them as they are read now, or
// Rebuild. Errors are kOutOfMemory unless said otherwise.
class Selector {
 public:
  virtual ~Selector() = default;

  // Tokens [first, first + n) of the list were appended.
  //   k_roped  rows `stride` floats apart
  virtual Status OnAppend(int layer, int kv_head, int64_t first, int64_t n, const float* k_roped,
                          int64_t stride) = 0;
  // The list holds its first n tokens only.
  virtual void OnTruncate(int layer, int kv_head, int64_t n) = 0;
  // The list was rewritten by eviction or merging: build the summaries anew.
  virtual Status Rebuild(int layer, int kv_head, const SegmentList& list) = 0;

  // Chooses for the query heads of one kv head at one token: ascending disjoint ranges, or false
  // for all tokens. Errors: kInvalidArgument when the summaries are not in step with the list.
  virtual Result<bool> Select(int layer, int kv_head, const QueryRows& rows,
                              const SegmentList& list, std::vector<IndexRange>* ranges) = 0;
  // Lower bound of the attended mass share of each row, given the states over what the last Select
  // chose for these rows; empty when the summaries bound nothing.
  virtual std::vector<float> Certify(int layer, int kv_head, const QueryRows& rows,
                                     const StateView& attended) const = 0;

  virtual int64_t bytes() const = 0;  // of all summaries
  // An independent copy, for a fork of the sequence.
  virtual Result<std::unique_ptr<Selector>> Fork() const = 0;
};

}  // namespace kvasir
