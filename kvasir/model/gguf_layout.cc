#include "kvasir/model/gguf_layout.h"

#include <fmt/format.h>

#include <string_view>

namespace kvasir {
namespace {

// Lengths that tensors share.
enum Dim { kNone, kEmbd, kQ, kKv, kQkv, kHead, kFf, kGateUp };

// Who has a tensor. Biases that are not required are taken where a file has them.
enum Presence { kAll, kUnfused, kFused, kQkNorms, kPostNorms, kQkvBias, kOptional };

struct SlotRule {
  std::string_view suffix;
  Dim rows, cols;
  Presence presence;
  Tensor LayerWeights::*matrix;
  std::vector<float> LayerWeights::*vector;
};

using W = LayerWeights;
constexpr SlotRule kRules[] = {
    {"attn_norm.weight", kNone, kEmbd, kAll, nullptr, &W::attn_norm},
    {"attn_qkv.weight", kQkv, kEmbd, kFused, nullptr, nullptr},
    {"attn_q.weight", kQ, kEmbd, kUnfused, &W::wq, nullptr},
    {"attn_q.bias", kNone, kQ, kQkvBias, nullptr, &W::bq},
    {"attn_k.weight", kKv, kEmbd, kUnfused, &W::wk, nullptr},
    {"attn_k.bias", kNone, kKv, kQkvBias, nullptr, &W::bk},
    {"attn_v.weight", kKv, kEmbd, kUnfused, &W::wv, nullptr},
    {"attn_v.bias", kNone, kKv, kQkvBias, nullptr, &W::bv},
    {"attn_q_norm.weight", kNone, kHead, kQkNorms, nullptr, &W::q_norm},
    {"attn_k_norm.weight", kNone, kHead, kQkNorms, nullptr, &W::k_norm},
    {"attn_output.weight", kEmbd, kQ, kAll, &W::wo, nullptr},
    {"attn_output.bias", kNone, kEmbd, kOptional, nullptr, &W::bo},
    {"post_attention_norm.weight", kNone, kEmbd, kPostNorms, nullptr, &W::attn_post_norm},
    {"ffn_norm.weight", kNone, kEmbd, kAll, nullptr, &W::ffn_norm},
    {"ffn_gate.weight", kFf, kEmbd, kUnfused, &W::w_gate, nullptr},
    {"ffn_gate.bias", kNone, kFf, kOptional, nullptr, &W::b_gate},
    {"ffn_up.weight", kFf, kEmbd, kUnfused, &W::w_up, nullptr},
    {"ffn_up.weight", kGateUp, kEmbd, kFused, nullptr, nullptr},
    {"ffn_up.bias", kNone, kFf, kOptional, nullptr, &W::b_up},
    {"ffn_down.weight", kEmbd, kFf, kAll, &W::w_down, nullptr},
    {"ffn_down.bias", kNone, kEmbd, kOptional, nullptr, &W::b_down},
    {"post_ffw_norm.weight", kNone, kEmbd, kPostNorms, nullptr, &W::ffn_post_norm},
};

int64_t Length(Dim dim, const ModelSpec& spec) {
  const int64_t q = int64_t{spec.n_head} * spec.head_dim;
  const int64_t kv = int64_t{spec.n_kv_head} * spec.head_dim;
  switch (dim) {
    case kNone: return 0;
    case kEmbd: return spec.n_embd;
    case kQ: return q;
    case kKv: return kv;
    case kQkv: return q + 2 * kv;
    case kHead: return spec.head_dim;
    case kFf: return spec.n_ff;
    case kGateUp: return 2 * int64_t{spec.n_ff};
  }
  return 0;
}

bool HasFusedTensors(const ModelSpec& spec) { return spec.architecture == "phi3"; }

bool IsGemma(const ModelSpec& spec) {
  return spec.architecture == "gemma2" || spec.architecture == "gemma3";
}

bool Belongs(Presence presence, const ModelSpec& spec) {
  switch (presence) {
    case kAll: return true;
    case kUnfused: return !HasFusedTensors(spec);
    case kFused: return HasFusedTensors(spec);
    case kQkNorms: return spec.architecture == "qwen3" || spec.architecture == "gemma3";
    case kPostNorms: return IsGemma(spec);
    case kQkvBias:
    case kOptional: return !HasFusedTensors(spec);
  }
  return false;
}

GgufFusion FusionOf(Dim rows) {
  if (rows == kQkv) return GgufFusion::kQkv;
  return rows == kGateUp ? GgufFusion::kGateUp : GgufFusion::kNone;
}

bool IsRequired(Presence presence, const ModelSpec& spec) {
  if (presence == kQkvBias) return spec.architecture == "qwen2";
  return presence != kOptional;
}

}  // namespace

bool IsKnownArchitecture(std::string_view architecture) {
  for (const std::string_view known : {"llama", "qwen2", "qwen3", "gemma2", "gemma3", "phi3"}) {
    if (architecture == known) return true;
  }
  return false;
}

std::vector<GgufLayerSlot> GgufLayerSlots(const ModelSpec& spec, int32_t layer) {
  std::vector<GgufLayerSlot> slots;
  for (const SlotRule& rule : kRules) {
    if (!Belongs(rule.presence, spec)) continue;
    slots.push_back({fmt::format("blk.{}.{}", layer, rule.suffix), Length(rule.rows, spec),
                     Length(rule.cols, spec), IsRequired(rule.presence, spec), FusionOf(rule.rows),
                     rule.matrix, rule.vector});
  }
  return slots;
}

}  // namespace kvasir
