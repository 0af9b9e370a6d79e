#include "kvasir/policy/policy_testing.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numeric>
#include <random>

namespace kvasir {

namespace {

RopeSpec PlainRope(int head_dim) {
  RopeSpec spec;
  spec.n_rot = head_dim;
  return spec;
}

}  // namespace

std::vector<LayerData> RandomLayers(const CacheShape& shape, int n_token, uint32_t seed) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal;
  std::vector<LayerData> layers(static_cast<size_t>(shape.n_layer));
  for (LayerData& layer : layers) {
    layer.q.resize(static_cast<size_t>(n_token) * shape.n_head * shape.head_dim);
    layer.k.resize(static_cast<size_t>(n_token) * shape.n_kv_head * shape.head_dim);
    layer.v.resize(layer.k.size());
    for (auto* rows : {&layer.q, &layer.k, &layer.v}) {
      for (float& x : *rows) x = normal(rng);
    }
  }
  return layers;
}

float TestOutput(int layer, int64_t row, int64_t col) {
  return static_cast<float>(std::sin(1.0 + layer + 0.37 * static_cast<double>(row * row) +
                                     0.91 * static_cast<double>(col)));
}

void GiveOutputs(const CacheShape& shape, PolicyTarget* target) {
  const int64_t cols = int64_t{shape.n_head} * shape.head_dim;
  target->n_embd = kTestEmbd;
  target->output_rows = [cols](int layer, int64_t first, int64_t n, float* rows) {
    for (int64_t row = first; row < first + n; ++row) {
      for (int64_t col = 0; col < cols; ++col) *rows++ = TestOutput(layer, row, col);
    }
  };
}

PolicyWorld::PolicyWorld(const CacheShape& shape, const std::string& recipe,
                         std::vector<LayerData> layers, int n_thread, PolicyTarget target)
    : shape_(shape),
      layers_(std::move(layers)),
      scale_(1.0f / std::sqrt(static_cast<float>(shape.head_dim))),
      rope_(PlainRope(shape.head_dim), 1 << 16),
      arena_(ledger_, ByteKind::kKv),
      team_(n_thread),
      workspace_(*AttendWorkspace::Create(shape, team_.size(), ledger_)) {
  auto parsed = Recipe::Parse(recipe);
  assert(parsed.ok());
  target.shape = shape;
  target.is_special = [](TokenId id) { return id == 0; };
  if (!target.output_rows) GiveOutputs(shape, &target);
  auto policy = KvPolicy::Compile(*parsed, target);
  assert(policy.ok());
  cache_ =
      std::make_unique<SequenceCache>(shape, (*policy)->k_format(), (*policy)->v_format(), arena_);
  run_ = std::make_unique<PolicyRun>(
      *policy,
      RunResources{&team_, workspace_.get(), &ledger_, [this](int) { return &rope_; }, {}});
  const Status attached = run_->Attach(*cache_);
  assert(attached.ok());
  static_cast<void>(attached);
}

Status PolicyWorld::Chunk(RunPhase phase, int n, bool last) {
  const int32_t first = cache_->n_pos();
  std::vector<int32_t> pos(static_cast<size_t>(n));
  std::iota(pos.begin(), pos.end(), first);
  std::vector<TokenId> tokens;
  for (int32_t p : pos) tokens.push_back(p % 50);
  run_->BeginChunk(phase, tokens, last);
  std::vector<RowNorm> norms(static_cast<size_t>(n) * shape_.n_head);
  std::vector<float> out(static_cast<size_t>(n) * shape_.n_head * shape_.head_dim);
  for (int layer = 0; layer < shape_.n_layer; ++layer) {
    const LayerData& data = layers_[layer];
    const size_t kv = static_cast<size_t>(first) * shape_.n_kv_head * shape_.head_dim;
    KVASIR_RETURN_IF_ERROR(cache_->Append(layer, pos, &data.k[kv], &data.v[kv], team_));
    LayerQueries queries;
    queries.q = &data.q[static_cast<size_t>(first) * shape_.n_head * shape_.head_dim];
    queries.pos = pos;
    queries.scale = scale_;
    if (run_->WantsNorms(layer)) {
      queries.norms = norms.data();
      queries.n_norm = run_->NormRows(layer);
    }
    KVASIR_RETURN_IF_ERROR(cache_->Attend(layer, queries, team_, *workspace_, out.data()));
    if (keeps_attended_) attended_.insert(attended_.end(), out.begin(), out.end());
    peak_held_ = std::max(peak_held_, n_held());
    KVASIR_RETURN_IF_ERROR(run_->AfterAttend(layer, queries, *cache_));
  }
  cache_->Advance(first + n);
  return run_->EndChunk(*cache_);
}

Status PolicyWorld::Prefill(int n, int chunk) {
  for (int done = 0; done < n; done += chunk) {
    const int m = std::min(chunk, n - done);
    KVASIR_RETURN_IF_ERROR(Chunk(RunPhase::kPrefill, m, done + m == n));
  }
  return Status::Ok();
}

Status PolicyWorld::Decode(int n) {
  for (int i = 0; i < n; ++i) KVASIR_RETURN_IF_ERROR(Chunk(RunPhase::kDecode, 1, false));
  return Status::Ok();
}

std::vector<float> PolicyWorld::Attend(int layer, int token) {
  const int32_t pos[] = {token};
  LayerQueries queries;
  queries.q = &layers_[layer].q[static_cast<size_t>(token) * shape_.n_head * shape_.head_dim];
  queries.pos = pos;
  queries.scale = scale_;
  std::vector<float> out(static_cast<size_t>(shape_.n_head) * shape_.head_dim);
  const Status status = cache_->Attend(layer, queries, team_, *workspace_, out.data());
  assert(status.ok());
  static_cast<void>(status);
  return out;
}

int64_t PolicyWorld::n_held() const {
  int64_t n = 0;
  for (int layer = 0; layer < shape_.n_layer; ++layer) {
    for (int kv_head = 0; kv_head < shape_.n_kv_head; ++kv_head) {
      n += cache_->list(layer, kv_head).n_kv();
    }
  }
  return n;
}

Result<PolicyWorld::Branch> PolicyWorld::Fork() const {
  Branch branch;
  KVASIR_ASSIGN_OR_RETURN(branch.cache, cache_->Fork());
  KVASIR_ASSIGN_OR_RETURN(branch.run, run_->Fork());
  return branch;
}

void PolicyWorld::Swap(Branch& branch) {
  std::swap(cache_, branch.cache);
  std::swap(run_, branch.run);
}

Status PolicyWorld::ForkSelf() {
  KVASIR_ASSIGN_OR_RETURN(Branch fork, Fork());
  Swap(fork);
  return Status::Ok();
}

Status PolicyWorld::Rewind(int32_t pos) {
  KVASIR_RETURN_IF_ERROR(cache_->Truncate(pos));
  run_->Truncate(*cache_, pos);
  return Status::Ok();
}

}  // namespace kvasir
