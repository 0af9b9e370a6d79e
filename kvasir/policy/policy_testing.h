// A sequence of random layers for policy tests: appends, attends and cuts as a forward pass does,
// without a model, beside the definitions in f64.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "kvasir/model/rope.h"
#include "kvasir/policy/policy_run.h"

namespace kvasir {

// Random queries, keys and values of all layers.
struct LayerData {
  std::vector<float> q;     // (n_token, n_head, head_dim)
  std::vector<float> k, v;  // (n_token, n_kv_head, head_dim)
};
std::vector<LayerData> RandomLayers(const CacheShape& shape, int n_token, uint32_t seed);

// An output projection: any numbers will do, as long as they are the same each time.
inline constexpr int64_t kTestEmbd = 40;
float TestOutput(int layer, int64_t row, int64_t col);
// Gives the target such projections.
void GiveOutputs(const CacheShape& shape, PolicyTarget* target);

class PolicyWorld {
 public:
  PolicyWorld(const CacheShape& shape, const std::string& recipe, std::vector<LayerData> layers,
              int n_thread = 2, PolicyTarget target = {});

  // Feeds tokens [n_pos, n_pos + n): a prompt in chunks, or generated tokens one by one.
  Status Prefill(int n, int chunk);
  Status Decode(int n);

  // Weights of query `token`, head `head`, over tokens [0, n_token) that `seen` lets through, f64.
  template <typename Seen>
  std::vector<double> ExactWeights(int layer, int token, int head, const Seen& seen) const {
    const float* q = &layers_[layer].q[(size_t(token) * shape_.n_head + head) * shape_.head_dim];
    std::vector<double> logit(n_token(), -1e300), weight(n_token());
    double max = -1e300, sum = 0;
    for (int t = 0; t <= token; ++t) {
      if (!seen(t)) continue;
      const float* k = Row(layers_[layer].k, t, head / shape_.group());
      double dot = 0;
      for (int j = 0; j < shape_.head_dim; ++j) dot += double{q[j]} * k[j];
      logit[t] = dot * scale_;
      max = std::max(max, logit[t]);
    }
    for (int t = 0; t <= token; ++t) {
      if (seen(t)) sum += weight[t] = std::exp(logit[t] - max);
    }
    for (double& w : weight) w /= sum;
    return weight;
  }
  const float* Row(const std::vector<float>& rows, int token, int kv_head) const {
    return &rows[(size_t(token) * shape_.n_kv_head + kv_head) * shape_.head_dim];
  }
  // Attention of one query over the cache as it is: (n_head, head_dim).
  std::vector<float> Attend(int layer, int token);

  // What attention gave for the chunks that were fed since KeepAttended(), layer by layer in each.
  void KeepAttended() { keeps_attended_ = true; }
  const std::vector<float>& attended() const { return attended_; }

  int n_token() const {
    return static_cast<int>(layers_[0].q.size() / (shape_.n_head * shape_.head_dim));
  }
  const CacheShape& shape() const { return shape_; }
  const std::vector<LayerData>& layers() const { return layers_; }
  SequenceCache& cache() { return *cache_; }
  PolicyRun& run() { return *run_; }
  SlabArena& arena() { return arena_; }
  const ByteLedger& ledger() const { return ledger_; }
  std::vector<int32_t> Kept(int layer, int kv_head) const {
    return cache_->list(layer, kv_head).AllPositions();
  }
  int64_t n_held() const;
  int64_t peak_held() const { return peak_held_; }  // tokens over all lists, after attention

  // The state of one sequence. The world works on one at a time; empty = dropped.
  struct Branch {
    std::unique_ptr<SequenceCache> cache;
    std::unique_ptr<PolicyRun> run;
  };
  Result<Branch> Fork() const;
  // Exchanges the sequence that is worked on.
  void Swap(Branch& branch);
  // Goes on from a fork of this world's state.
  Status ForkSelf();
  Status Rewind(int32_t pos);

 private:
  Status Chunk(RunPhase phase, int n, bool last);

  CacheShape shape_;
  std::vector<LayerData> layers_;
  float scale_;
  Rope rope_;
  ByteLedger ledger_;
  SlabArena arena_;
  ThreadTeam team_;
  std::unique_ptr<AttendWorkspace> workspace_;
  std::unique_ptr<SequenceCache> cache_;
  std::unique_ptr<PolicyRun> run_;
  int64_t peak_held_ = 0;
  bool keeps_attended_ = false;
  std::vector<float> attended_;
};

}  // namespace kvasir
