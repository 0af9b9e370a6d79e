// Drives a policy over a tiny model, for tests. policy_testing.h does so without a model.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kvasir/model/forward.h"
#include "kvasir/policy/policy_run.h"

namespace kvasir::testing_policy {

// One sequence under a recipe.
struct RigSequence {
  std::shared_ptr<const KvPolicy> policy;
  std::unique_ptr<SequenceCache> cache;
  std::unique_ptr<PolicyRun> run;
  std::vector<float> logits;  // of the last token
  // Asked after every chunk.
  std::function<void(const SequenceCache&)> after_chunk;

  // Positions held by a head.
  std::vector<int32_t> Held(int layer, int kv_head) const {
    return cache->list(layer, kv_head).AllPositions();
  }
  int64_t TokensHeld() const;  // over all (layer, kv head)
};

// A tiny synthetic model and what it takes to run it.
class PolicyRig {
 public:
  explicit PolicyRig(std::string_view shape = "tiny-llama", int32_t n_ctx = 512,
                     int32_t max_chunk = 512, int n_thread = 2);

  const CacheShape& shape() const { return target.shape; }
  Result<std::shared_ptr<const KvPolicy>> Compile(std::string_view recipe) const;
  RigSequence Start(std::string_view recipe);  // fails the test where it does not compile
  // Prefills in chunks; replays where the policy wants it.
  Status Prefill(RigSequence& s, std::span<const TokenId> tokens, int64_t chunk);
  Status Decode(RigSequence& s, std::span<const TokenId> tokens);
  static std::vector<TokenId> Tokens(int n, uint64_t seed = 7);

  PolicyTarget target;
  std::shared_ptr<const Model> model;
  ByteLedger ledger;
  SlabArena arena{ledger, ByteKind::kKv};
  ThreadTeam team;
  std::unique_ptr<ForwardPass> forward;

 private:
  std::string bytes_;
};

std::vector<float> RandomRows(int64_t n, uint64_t seed);

}  // namespace kvasir::testing_policy
