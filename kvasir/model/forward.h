// The forward pass: tokens through all layers, keys and values into a sequence's cache.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <span>
#include <vector>

#include "kvasir/cache/sequence_cache.h"
#include "kvasir/core/byte_ledger.h"
#include "kvasir/core/thread_team.h"
#include "kvasir/model/model.h"
#include "kvasir/model/rope.h"
#include "kvasir/model/striped_weights.h"

namespace kvasir {

enum class LogitsWanted { kNone, kLast, kAll };

// Receives logits of tokens [first, first + n) of the chunk: (n, n_vocab), valid during the call.
using LogitsSink = std::function<Status(int64_t first, int64_t n, const float* logits)>;

// What a KV policy sees of a forward pass, after each layer's attention.
class LayerObserver {
 public:
  virtual ~LayerObserver() = default;
  // Whether AfterAttend wants `queries.norms` filled.
  virtual bool WantsNorms(int layer) const = 0;
  // Of how many of the chunk's newest tokens: LayerQueries::n_norm.
  virtual int NormRows(int /*layer*/) const { return INT32_MAX; }
  // The layer's queries, rotated, and its cache, which holds the chunk. May change that layer's
  // lists: later chunks read what it leaves.
  virtual Status AfterAttend(int layer, const LayerQueries& queries, SequenceCache& cache) = 0;
  // What attention gave, after AfterAttend and before the output projection:
  // (n_token, n_head, head_dim), valid during the call.
  virtual void Attended([[maybe_unused]] int layer, [[maybe_unused]] std::span<const float> out) {}
};

CacheShape CacheShapeOf(const ModelSpec& spec);

// Holds the scratch of one stream of computation; not thread-safe. Results do not depend on the
// team's size or on how tokens are divided into chunks, to the bit.
class ForwardPass {
 public:
  // `n_ctx`: positions a sequence may reach. `max_chunk`: tokens per Run.
  static Result<std::unique_ptr<ForwardPass>> Create(std::shared_ptr<const Model> model,
                                                     int32_t n_ctx, int32_t max_chunk,
                                                     ThreadTeam& team, ByteLedger& ledger);

  // Makes the scratch that chunks of n tokens take, n <= max_chunk; Run does so by itself. Errors:
  // kOutOfMemory.
  Status Reserve(int64_t n_token);

  // Brings the weights to where they are read fastest (StripedWeights), which the first steps of
  // decoding do bit by bit.
  void SettleWeights() { weights_->MoveAll(team_); }

  // Runs tokens at positions cache.n_pos(), cache.n_pos() + 1, ...; `tokens` must be valid ids, at
  // most max_chunk. On an error the cache is as before.
  Status Run(std::span<const TokenId> tokens, SequenceCache& cache, LogitsWanted wanted,
             const LogitsSink& sink, LayerObserver* observer = nullptr);

  // The residual stream behind the last layer, of the chunk that Run took last: (n_token, n_embd).
  // Valid until the next Run.
  std::span<const float> hidden() const {
    return {buffers_.x.data(), static_cast<size_t>(n_token_ * model_->spec.n_embd)};
  }
  // Logits of such rows, kept or fresh, a few at a time: the bits that Run gives.
  Status LogitsOf(std::span<const float> hidden, const LogitsSink& sink);

  // Rows [first, first + n) of a layer's output projection as f32, (n, n_head * head_dim).
  void OutputRows(int layer, int64_t first, int64_t n, float* rows) const;

  const Model& model() const { return *model_; }
  int32_t n_ctx() const { return n_ctx_; }
  int32_t max_chunk() const { return max_chunk_; }
  const Rope& rope(int layer) const { return KindRope(AngleKind(layer)); }
  ThreadTeam& team() { return team_; }
  AttendWorkspace& workspace() { return *workspace_; }

 private:
  ForwardPass(std::shared_ptr<const Model> model, int32_t n_ctx, int32_t max_chunk,
              ThreadTeam& team, ByteLedger& ledger);
  // Which table of angles a layer reads: that of its RoPE, at positions (sliding windows), or at
  // angles that the cache may have numbered anew.
  int AngleKind(int layer) const {
    return (model_->spec.uses_local_rope[layer] ? 1 : 0) + (model_->spec.window[layer] > 0 ? 2 : 0);
  }
  const Rope& KindRope(int kind) const { return kind % 2 == 1 ? local_rope_ : rope_; }
  void FillAngles(int32_t angle_offset);
  Status Layers(SequenceCache& cache, LayerObserver* observer);
  Status Attention(int layer, SequenceCache& cache, LayerObserver* observer);
  void FeedForward(const LayerWeights& w);
  void Embed(std::span<const TokenId> tokens);
  void Norm(const float* x, const std::vector<float>& weight, float* out, int64_t n_token);
  struct Projection {
    const Tensor& w;
    const std::vector<float>& bias;
    float* y;
  };
  // y = x W^T + bias of up to three projections of the chunk.
  void Project(std::initializer_list<Projection> projections, const float* x);
  void RotateHeads(float* heads, int n_head, const std::vector<float>& norm, int layer);
  void AddResidual(float* out, const std::vector<float>& post_norm);
  template <typename F>
  void ForTokens(int64_t n, const F& f) {
    team_.Run(n, [&](int64_t t, int) { f(t); });
  }

  std::shared_ptr<const Model> model_;
  std::shared_ptr<StripedWeights> weights_;
  const int32_t n_ctx_, max_chunk_;
  ThreadTeam& team_;
  ByteLedger& ledger_;
  Rope rope_, local_rope_;
  std::array<bool, 4> has_kind_ = {};  // of any layer
  std::unique_ptr<AttendWorkspace> workspace_;

  // Scratch for `capacity_` tokens. Shapes are per token.
  struct Buffers {
    std::vector<float> x;             // (n_embd) the residual stream
    std::vector<float> normed;        // (n_embd)
    std::vector<float> q;             // (n_head * head_dim)
    std::vector<float> k, v;          // (n_kv_head * head_dim)
    std::vector<float> attended;      // (n_head * head_dim)
    std::vector<float> gate, up;      // (n_ff)
    std::vector<float> rope[4];       // (n_rot) cosines and sines, by AngleKind
    std::vector<RowNorm> norms;       // (n_head)
    std::vector<std::byte> prepared;  // one activation matrix in the form a product reads
    std::vector<float> logits;        // (kLogitRows, n_vocab), whatever the chunk
  } buffers_;
  ByteCharge charge_;
  int64_t capacity_ = 0;
  int64_t n_token_ = 0;  // of the chunk under way; 0 before the first
  std::vector<int32_t> pos_, angles_;
};

}  // namespace kvasir
