// One sequence under a recipe: its cache, its policy at work, and the order in which a chunk of
// tokens goes through both.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "kvasir/engine/runtime.h"
#include "kvasir/policy/policy_run.h"

namespace kvasir {

// One call of Feed.
struct FeedStep {
  RunPhase phase = RunPhase::kPrefill;
  std::span<const TokenId> tokens;
  bool last_prefill_chunk = false;
  LogitsWanted wanted = LogitsWanted::kNone;
  LogitsSink sink = {};
  LayerObserver* observer = nullptr;  // beside the policy; asked after it
  // Between the forward pass and what the policy does at the end of a chunk; may be empty.
  std::function<Status()> after_run = {};
};

// Not thread-safe. The runtime must outlive it.
class KvSequence {
 public:
  KvSequence(Runtime& runtime, std::shared_ptr<const KvPolicy> policy);

  // Runs tokens behind those held. Errors: of ForwardPass::Run, PolicyRun and the hooks; what the
  // sequence holds is undefined after one.
  Status Feed(const FeedStep& step);

  SequenceCache& cache() { return cache_; }
  const KvPolicy& policy() const { return *policy_; }
  std::span<const TokenId> tokens() const { return tokens_; }
  // What held tokens take: codes, scales, positions, page summaries, signals. Of a dense tile of 16
  // tokens, slots that no token fills yet are not counted.
  int64_t payload_bytes() const;
  // Of one list; page summaries and signals are not in it.
  static int64_t PayloadBytes(const SegmentList& list);
  int64_t tokens_held() const;  // over all (layer, kv head)

 private:
  // Evicts by the recipe's overflow rule until a chunk of n tokens fits.
  Status EnsureRoom(int64_t n_token);

  Runtime& runtime_;
  std::shared_ptr<const KvPolicy> policy_;
  SequenceCache cache_;
  std::unique_ptr<PolicyRun> run_;  // null when the policy has nothing to do
  std::vector<TokenId> tokens_;
};

}  // namespace kvasir
