// What the prompt, read a second time, pays attention to: the largest weight that each held token
// receives. State of one replay; not thread-safe.
#pragma once

#include <span>
#include <vector>

#include "kvasir/cache/sequence_cache.h"
#include "kvasir/core/byte_ledger.h"
#include "kvasir/core/thread_team.h"

namespace kvasir {

// Tokens of the prompt that are read again at a time.
inline constexpr int64_t kReplayTokens = 2048;

class ReplayTap {
 public:
  // For the tokens that `cache` holds now. Errors: kOutOfMemory.
  Status Begin(const SequenceCache& cache, ByteLedger& ledger);
  // After the layer's attention. `cache` holds the replayed tokens behind those it held at Begin.
  Status Observe(int layer, const LayerQueries& queries, const SequenceCache& cache,
                 ThreadTeam& team, AttendWorkspace& workspace);
  // Largest weight over replayed queries and the heads of the group, for the tokens held at Begin;
  // empty where nothing was replayed.
  std::span<const float> max(int layer, int kv_head) const {
    if (max_.empty()) return {};
    return max_[static_cast<size_t>(layer) * n_kv_head_ + kv_head];
  }
  // Forgets everything.
  void Reset() { *this = ReplayTap(); }
  int64_t bytes() const { return charge_.bytes(); }

 private:
  int n_kv_head_ = 0;
  ByteCharge charge_;
  std::vector<std::vector<float>> max_;  // by (layer, kv head)
};

}  // namespace kvasir
