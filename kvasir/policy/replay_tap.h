// What the prompt, read a second time, pays attention to: the largest weight that each held token
// receives while the part it belongs to is repeated. State of one replay; not thread-safe.
#pragma once

#include <span>
#include <vector>

#include "kvasir/cache/sequence_cache.h"
#include "kvasir/core/byte_ledger.h"
#include "kvasir/core/thread_team.h"

namespace kvasir {

class ReplayTap {
 public:
  // First tokens that take part in every softmax: without them it would hand the weight of a sink
  // to others.
  static constexpr int64_t kSinks = 4;

  // For the tokens that `cache` holds now. Errors: kOutOfMemory.
  Status Begin(const SequenceCache& cache, ByteLedger& ledger);
  // What is read next repeats the tokens at positions [begin, end). Errors: kOutOfMemory.
  Status BeginPart(int32_t begin, int32_t end, int n_thread, ByteLedger& ledger);
  // After the layer's attention. `cache` holds the replayed tokens behind those it held at Begin.
  Status Observe(int layer, const LayerQueries& queries, const SequenceCache& cache,
                 ThreadTeam& team, AttendWorkspace& workspace);
  // Largest weight over replayed queries and the heads of the group, for the tokens held at Begin,
  // in a softmax over the first kSinks tokens, the part that is repeated and the repetition; 0 for
  // tokens that were in no part; empty where nothing was replayed.
  std::span<const float> max(int layer, int kv_head) const {
    if (max_.empty()) return {};
    return max_[static_cast<size_t>(layer) * n_kv_head_ + kv_head];
  }
  // Forgets everything.
  void Reset() { *this = ReplayTap(); }
  int64_t bytes() const { return charge_.bytes(); }

 private:
  // One kv head of a layer.
  Status ObserveHead(int layer, int kv_head, const LayerQueries& queries,
                     const SequenceCache& cache, AttendScratch& scratch);

  int n_kv_head_ = 0;
  int32_t begin_ = 0, end_ = 0;  // the part that is repeated
  ByteCharge charge_, part_charge_;
  std::vector<std::vector<float>> max_;  // by (layer, kv head)
};

}  // namespace kvasir
