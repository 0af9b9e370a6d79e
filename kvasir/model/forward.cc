#include "kvasir/model/forward.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cstdint>
#include <numeric>

#include "kvasir/kernels/elementwise.h"
#include "kvasir/kernels/matmul.h"
#include "kvasir/kernels/weight_stripes.h"

namespace kvasir {
namespace {

// Rows of logits made at a time: a whole chunk of a large vocabulary would outweigh the cache.
constexpr int64_t kLogitRows = 16;

// Chunks of so few tokens, one tile of a product, take as long as their weights take to be read.
constexpr int64_t kFewTokens = 8;

void* Aligned(std::vector<std::byte>& bytes) {
  return reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(bytes.data()) + 63) & ~uintptr_t{63});
}

void AddBias(float* y, const std::vector<float>& bias) {
  ActiveElementwiseKernels().add(y, bias.data(), static_cast<int>(bias.size()));
}

}  // namespace

CacheShape CacheShapeOf(const ModelSpec& spec) {
  return {spec.n_layer, spec.n_head, spec.n_kv_head, spec.head_dim, spec.window};
}

ForwardPass::ForwardPass(std::shared_ptr<const Model> model, int32_t n_ctx, int32_t max_chunk,
                         ThreadTeam& team, ByteLedger& ledger)
    : model_(std::move(model)),
      n_ctx_(n_ctx),
      max_chunk_(max_chunk),
      team_(team),
      ledger_(ledger),
      rope_(model_->spec.rope, n_ctx),
      local_rope_(model_->spec.rope_local, n_ctx) {
  for (int layer = 0; layer < model_->spec.n_layer; ++layer) has_kind_[AngleKind(layer)] = true;
}

Result<std::unique_ptr<ForwardPass>> ForwardPass::Create(std::shared_ptr<const Model> model,
                                                         int32_t n_ctx, int32_t max_chunk,
                                                         ThreadTeam& team, ByteLedger& ledger) {
  const ModelSpec& spec = model->spec;
  if (spec.n_head / spec.n_kv_head > AttendScratch::kMaxRows) {
    return Status::Unsupported(
        fmt::format("{}: {} query heads to a kv head, at most {} are handled", spec.name,
                    spec.n_head / spec.n_kv_head, AttendScratch::kMaxRows));
  }
  std::unique_ptr<ForwardPass> pass(
      new ForwardPass(std::move(model), n_ctx, max_chunk, team, ledger));
  KVASIR_ASSIGN_OR_RETURN(pass->weights_, StripedWeights::Of(pass->model_));
  KVASIR_ASSIGN_OR_RETURN(pass->workspace_,
                          AttendWorkspace::Create(CacheShapeOf(spec), team.size(), ledger));
  return pass;
}

Status ForwardPass::Reserve(int64_t n_token) {
  if (n_token <= capacity_) return Status::Ok();
  const ModelSpec& s = model_->spec;
  const Weights& w = model_->weights;
  size_t prepared = 0;
  const auto consider = [&](const Tensor& tensor, int64_t rows) {
    if (!tensor.empty())
      prepared = std::max(prepared, PreparedBytes(tensor.type, rows, tensor.cols));
  };
  consider(w.output, kLogitRows);
  for (const LayerWeights& layer : w.layers) {
    for (const Tensor* t :
         {&layer.wq, &layer.wk, &layer.wv, &layer.wo, &layer.w_gate, &layer.w_up, &layer.w_down}) {
      consider(*t, n_token);
    }
  }
  const int64_t q_size = int64_t{s.n_head} * s.head_dim,
                kv_size = int64_t{s.n_kv_head} * s.head_dim;
  int64_t n_angle = 0;
  for (int kind = 0; kind < 4; ++kind) n_angle += has_kind_[kind] ? KindRope(kind).n_rot() : 0;
  const int64_t floats =
      n_token * (2 * s.n_embd + 2 * q_size + 2 * kv_size + 2 * s.n_ff + n_angle + 2 * s.n_head) +
      kLogitRows * s.n_vocab;
  // What is held now is freed first, so that growing never holds both.
  buffers_ = {};
  charge_.Reset();
  capacity_ = 0;
  KVASIR_ASSIGN_OR_RETURN(charge_, ByteCharge::Take(ledger_, ByteKind::kScratch,
                                                    floats * static_cast<int64_t>(sizeof(float)) +
                                                        static_cast<int64_t>(prepared) + 64));
  const auto size = [&](std::vector<float>& buffer, int64_t per_token) {
    buffer.resize(static_cast<size_t>(n_token * per_token));
  };
  size(buffers_.x, s.n_embd);
  size(buffers_.normed, s.n_embd);
  size(buffers_.q, q_size);
  size(buffers_.k, kv_size);
  size(buffers_.v, kv_size);
  size(buffers_.attended, q_size);
  size(buffers_.gate, s.n_ff);
  size(buffers_.up, s.n_ff);
  for (int kind = 0; kind < 4; ++kind) {
    if (has_kind_[kind]) size(buffers_.rope[kind], KindRope(kind).n_rot());
  }
  buffers_.norms.resize(static_cast<size_t>(n_token) * s.n_head);
  buffers_.prepared.resize(prepared + 64);
  buffers_.logits.resize(static_cast<size_t>(kLogitRows) * s.n_vocab);
  capacity_ = n_token;
  return Status::Ok();
}

Status ForwardPass::Run(std::span<const TokenId> tokens, SequenceCache& cache, LogitsWanted wanted,
                        const LogitsSink& sink, LayerObserver* observer) {
  assert(!tokens.empty() && static_cast<int64_t>(tokens.size()) <= max_chunk_);
  const bool first = n_token_ == 0;
  n_token_ = static_cast<int64_t>(tokens.size());
  if (cache.next_angle() + n_token_ > n_ctx_) {
    return Status::InvalidArgument(
        fmt::format("context full: {} tokens held and {} more asked for, n_ctx is {}",
                    cache.next_angle(), n_token_, n_ctx_));
  }
  KVASIR_RETURN_IF_ERROR(Reserve(n_token_));
  // Who waits for a first token should not wait for stripes, and large chunks hardly gain by them.
  if (!first && n_token_ <= kFewTokens) weights_->MoveSome(team_);
  pos_.resize(static_cast<size_t>(n_token_));
  std::iota(pos_.begin(), pos_.end(), cache.n_pos());
  FillAngles(cache.angle_offset());
  Embed(tokens);
  if (Status status = Layers(cache, observer); !status.ok()) {
    // Truncating to the present length only forgets what this chunk appended.
    KVASIR_RETURN_IF_ERROR(cache.Truncate(cache.n_pos()));
    return status;
  }
  cache.Advance(cache.n_pos() + static_cast<int32_t>(n_token_));
  if (wanted == LogitsWanted::kNone) return Status::Ok();
  const int64_t from = wanted == LogitsWanted::kAll ? 0 : n_token_ - 1;
  return LogitsOf(
      hidden().subspan(static_cast<size_t>(from * model_->spec.n_embd)),
      [&](int64_t begin, int64_t n, const float* logits) { return sink(from + begin, n, logits); });
}

void ForwardPass::FillAngles(int32_t angle_offset) {
  angles_.resize(pos_.size());
  std::ranges::transform(pos_, angles_.begin(), [&](int32_t pos) { return pos + angle_offset; });
  for (int kind = 0; kind < 4; ++kind) {
    if (!has_kind_[kind]) continue;
    KindRope(kind).FillTable(kind >= 2 ? pos_ : angles_, buffers_.rope[kind].data());
  }
}

void ForwardPass::Embed(std::span<const TokenId> tokens) {
  const Tensor& embd = model_->weights.token_embd;
  const float scale = model_->spec.embedding_scale;
  ForTokens(n_token_, [&](int64_t t) {
    assert(tokens[t] >= 0 && tokens[t] < embd.rows);
    float* x = &buffers_.x[t * embd.cols];
    DequantizeRow(embd.type, embd.data + static_cast<size_t>(tokens[t]) * embd.row_bytes, x,
                  embd.cols);
    if (scale != 1.0f) {
      for (int64_t i = 0; i < embd.cols; ++i) x[i] *= scale;
    }
  });
}

void ForwardPass::Norm(const float* x, const std::vector<float>& weight, float* out,
                       int64_t n_token) {
  const int64_t n = static_cast<int64_t>(weight.size());
  ForTokens(n_token, [&](int64_t t) {
    ActiveElementwiseKernels().rms_norm(x + t * n, weight.data(), static_cast<int>(n),
                                        model_->spec.norm_eps, out + t * n);
  });
}

void ForwardPass::Project(std::initializer_list<Projection> projections, const float* x) {
  void* activations = Aligned(buffers_.prepared);
  MatMulOutput together[3];  // those that read the same activations
  size_t n = 0;
  for (const Projection* p = projections.begin(); p != projections.end(); ++p) {
    if (n == 0) {
      PrepareActivations(p->w.type, x, p->w.cols, n_token_, p->w.cols, activations, team_);
    }
    together[n++] = {&p->w, p->y, p->w.rows};
    if (p + 1 != projections.end() && SamePreparation(p->w.type, p[1].w.type)) continue;
    MatMul(std::span(together, n), activations, n_token_, team_);
    n = 0;
  }
  for (const auto& [w, bias, y] : projections) {
    if (bias.empty()) continue;
    ForTokens(n_token_, [&](int64_t t) { AddBias(y + t * w.rows, bias); });
  }
}

void ForwardPass::OutputRows(int layer, int64_t first, int64_t n, float* rows) const {
  const Tensor& w = weights_->layer(layer).wo;
  std::vector<std::byte> row(w.row_bytes);
  for (int64_t i = 0; i < n; ++i) {
    CopyRow(w, first + i, row.data());
    DequantizeRow(w.type, row.data(), rows + i * w.cols, w.cols);
  }
}

void ForwardPass::RotateHeads(float* heads, int n_head, const std::vector<float>& norm, int layer) {
  const ModelSpec& s = model_->spec;
  const Rope& rope = this->rope(layer);
  const float* table = buffers_.rope[AngleKind(layer)].data();
  ForTokens(n_token_, [&](int64_t t) {
    for (int h = 0; h < n_head; ++h) {
      float* head = heads + (t * n_head + h) * s.head_dim;
      if (!norm.empty()) {
        ActiveElementwiseKernels().rms_norm(head, norm.data(), s.head_dim, s.norm_eps, head);
      }
      rope.Apply(head, table + t * rope.n_rot());
    }
  });
}

void ForwardPass::AddResidual(float* out, const std::vector<float>& post_norm) {
  const int n = model_->spec.n_embd;
  ForTokens(n_token_, [&](int64_t t) {
    const ElementwiseKernels& kernels = ActiveElementwiseKernels();
    float* row = out + t * n;
    if (!post_norm.empty()) {
      kernels.rms_norm(row, post_norm.data(), n, model_->spec.norm_eps, row);
    }
    kernels.add(&buffers_.x[t * n], row, n);
  });
}

Status ForwardPass::Layers(SequenceCache& cache, LayerObserver* observer) {
  for (int layer = 0; layer < model_->spec.n_layer; ++layer) {
    KVASIR_RETURN_IF_ERROR(Attention(layer, cache, observer));
    FeedForward(weights_->layer(layer));
  }
  return Status::Ok();
}

Status ForwardPass::Attention(int layer, SequenceCache& cache, LayerObserver* observer) {
  const ModelSpec& s = model_->spec;
  const LayerWeights& w = weights_->layer(layer);
  Buffers& b = buffers_;
  Norm(b.x.data(), w.attn_norm, b.normed.data(), n_token_);
  Project({{w.wq, w.bq, b.q.data()}, {w.wk, w.bk, b.k.data()}, {w.wv, w.bv, b.v.data()}},
          b.normed.data());
  RotateHeads(b.q.data(), s.n_head, w.q_norm, layer);
  RotateHeads(b.k.data(), s.n_kv_head, w.k_norm, layer);
  KVASIR_RETURN_IF_ERROR(cache.Append(layer, pos_, b.k.data(), b.v.data(), team_));
  LayerQueries queries;
  queries.q = b.q.data();
  queries.pos = pos_;
  queries.scale = s.attn_scale;
  queries.softcap = s.attn_softcap;
  if (observer != nullptr && observer->WantsNorms(layer)) {
    queries.norms = b.norms.data();
    queries.n_norm = observer->NormRows(layer);
  }
  KVASIR_RETURN_IF_ERROR(cache.Attend(layer, queries, team_, *workspace_, b.attended.data()));
  if (observer != nullptr) {
    KVASIR_RETURN_IF_ERROR(observer->AfterAttend(layer, queries, cache));
    observer->Attended(layer, {b.attended.data(), static_cast<size_t>(n_token_) * s.n_head *
                                                      static_cast<size_t>(s.head_dim)});
  }
  Project({{w.wo, w.bo, b.normed.data()}}, b.attended.data());
  AddResidual(b.normed.data(), w.attn_post_norm);
  return Status::Ok();
}

void ForwardPass::FeedForward(const LayerWeights& w) {
  const ModelSpec& s = model_->spec;
  Buffers& b = buffers_;
  Norm(b.x.data(), w.ffn_norm, b.normed.data(), n_token_);
  Project({{w.w_gate, w.b_gate, b.gate.data()}, {w.w_up, w.b_up, b.up.data()}}, b.normed.data());
  ForTokens(n_token_, [&](int64_t t) {
    const ElementwiseKernels& kernels = ActiveElementwiseKernels();
    const auto gate = s.activation == Activation::kSilu ? kernels.silu_mul : kernels.gelu_mul;
    gate(&b.gate[t * s.n_ff], &b.up[t * s.n_ff], s.n_ff);
  });
  Project({{w.w_down, w.b_down, b.normed.data()}}, b.gate.data());
  AddResidual(b.normed.data(), w.ffn_post_norm);
}

Status ForwardPass::LogitsOf(std::span<const float> hidden, const LogitsSink& sink) {
  const ModelSpec& s = model_->spec;
  const Tensor& output = weights_->output();
  const int64_t n_row = static_cast<int64_t>(hidden.size()) / s.n_embd;
  KVASIR_RETURN_IF_ERROR(Reserve(1));
  void* activations = Aligned(buffers_.prepared);
  const int64_t block = std::min(kLogitRows, capacity_);
  for (int64_t first = 0; first < n_row; first += block) {
    const int64_t n = std::min(block, n_row - first);
    Norm(&hidden[first * s.n_embd], model_->weights.output_norm, buffers_.normed.data(), n);
    PrepareActivations(output.type, buffers_.normed.data(), output.cols, n, output.cols,
                       activations, team_);
    MatMul(output, activations, n, buffers_.logits.data(), s.n_vocab, team_);
    if (s.final_softcap > 0) {
      ForTokens(n, [&](int64_t t) {
        ActiveElementwiseKernels().softcap(&buffers_.logits[t * s.n_vocab], s.n_vocab,
                                           s.final_softcap);
      });
    }
    KVASIR_RETURN_IF_ERROR(sink(first, n, buffers_.logits.data()));
  }
  return Status::Ok();
}

}  // namespace kvasir
