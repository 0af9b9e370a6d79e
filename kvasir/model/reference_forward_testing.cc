#include "kvasir/model/reference_forward_testing.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "kvasir/kernels/matmul.h"

namespace kvasir {
namespace {

using Row = std::vector<double>;
using Rows = std::vector<Row>;  // one per token

std::vector<float> RowOf(const Tensor& w, int64_t row) {
  std::vector<float> values(static_cast<size_t>(w.cols));
  DequantizeRow(w.type, w.data + static_cast<size_t>(row) * w.row_bytes, values.data(), w.cols);
  return values;
}

Rows Linear(const Tensor& w, const std::vector<float>& bias, const Rows& x) {
  Rows y(x.size(), Row(static_cast<size_t>(w.rows)));
  for (int64_t r = 0; r < w.rows; ++r) {
    const std::vector<float> weights = RowOf(w, r);
    const double b = bias.empty() ? 0.0 : bias[static_cast<size_t>(r)];
    for (size_t t = 0; t < x.size(); ++t) {
      double sum = b;
      for (size_t k = 0; k < weights.size(); ++k) sum += weights[k] * x[t][k];
      y[t][static_cast<size_t>(r)] = sum;
    }
  }
  return y;
}

// RMSNorm of x[begin, begin + weight.size()) in place.
void Norm(const std::vector<float>& weight, double eps, Row* x, size_t begin = 0) {
  double squares = 0;
  for (size_t i = 0; i < weight.size(); ++i) squares += (*x)[begin + i] * (*x)[begin + i];
  const double scale = 1 / std::sqrt(squares / static_cast<double>(weight.size()) + eps);
  for (size_t i = 0; i < weight.size(); ++i) (*x)[begin + i] *= scale * weight[i];
}

void NormAll(const std::vector<float>& weight, double eps, Rows* x) {
  if (weight.empty()) return;
  for (Row& row : *x) Norm(weight, eps, &row);
}

void AddTo(Rows* x, const Rows& y) {
  for (size_t t = 0; t < x->size(); ++t) {
    for (size_t i = 0; i < (*x)[t].size(); ++i) (*x)[t][i] += y[t][i];
  }
}

double SoftCap(double x, double cap) { return cap > 0 ? cap * std::tanh(x / cap) : x; }

double Activate(Activation activation, double x) {
  if (activation == Activation::kSilu) return x / (1 + std::exp(-x));
  const double inner = std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x);
  return 0.5 * x * (1 + std::tanh(inner));
}

// Pair i, at wavelength w, of llama 3.1: long waves are stretched, short ones kept.
double Llama3Freq(const RopeSpec& spec, double freq) {
  const double turns = spec.original_context * freq / (2 * std::numbers::pi);
  const double keep =
      (turns - spec.low_freq_factor) / (spec.high_freq_factor - spec.low_freq_factor);
  const double blend = std::clamp(keep, 0.0, 1.0);
  return freq * (blend + (1 - blend) / spec.factor);
}

// The pair whose wave turns `turns` times over the original context, YaRN eq. 17.
double YarnPair(const RopeSpec& spec, double turns) {
  return spec.n_rot * std::log(spec.original_context / (turns * 2 * std::numbers::pi)) /
         (2 * std::log(spec.freq_base));
}

double YarnFreq(const RopeSpec& spec, double freq, int32_t pair) {
  const double low = std::max(0.0, std::floor(YarnPair(spec, spec.beta_fast)));
  const double high = std::min(spec.n_rot - 1.0, std::ceil(YarnPair(spec, spec.beta_slow)));
  const double ramp = std::clamp((pair - low) / std::max(0.001, high - low), 0.0, 1.0);
  return freq * (1 - ramp + ramp / spec.factor);
}

void Rotate(const ReferenceRope& rope, RopePairing pairing, int32_t n_rot, double pos, double* x) {
  for (int32_t i = 0; i < n_rot / 2; ++i) {
    const bool halves = pairing == RopePairing::kHalves;
    double& a = x[halves ? i : 2 * i];
    double& b = x[halves ? i + n_rot / 2 : 2 * i + 1];
    const double angle = pos * rope.inverse_freqs[static_cast<size_t>(i)];
    const double c = rope.magnitude * std::cos(angle), s = rope.magnitude * std::sin(angle);
    const double rotated = a * c - b * s;
    b = b * c + a * s;
    a = rotated;
  }
}

void NormAndRotate(const ModelSpec& spec, const RopeSpec& rope, int32_t n_ctx,
                   const std::vector<float>& norm, Rows* heads) {
  const ReferenceRope resolved = ResolveReferenceRope(rope, n_ctx);
  for (size_t t = 0; t < heads->size(); ++t) {
    Row& row = (*heads)[t];
    for (size_t begin = 0; begin < row.size(); begin += static_cast<size_t>(spec.head_dim)) {
      if (!norm.empty()) Norm(norm, spec.norm_eps, &row, begin);
      Rotate(resolved, rope.pairing, rope.n_rot, static_cast<double>(t), row.data() + begin);
    }
  }
}

// One head of one query at token t over tokens [first, t]; adds to out[0, head_dim).
void AttendHead(const ModelSpec& spec, const double* q, const Rows& k, const Rows& v,
                size_t kv_begin, size_t first, size_t t, double* out) {
  const auto d = static_cast<size_t>(spec.head_dim);
  Row logits;
  for (size_t s = first; s <= t; ++s) {
    double dot = 0;
    for (size_t i = 0; i < d; ++i) dot += q[i] * k[s][kv_begin + i];
    logits.push_back(SoftCap(dot * spec.attn_scale, spec.attn_softcap));
  }
  const double top = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (double& logit : logits) sum += logit = std::exp(logit - top);
  for (size_t s = first; s <= t; ++s) {
    for (size_t i = 0; i < d; ++i) out[i] += logits[s - first] / sum * v[s][kv_begin + i];
  }
}

Rows Attend(const ModelSpec& spec, int32_t window, const Rows& q, const Rows& k, const Rows& v) {
  const auto d = static_cast<size_t>(spec.head_dim);
  const auto group = static_cast<size_t>(spec.n_head / spec.n_kv_head);
  Rows out(q.size(), Row(q.front().size(), 0.0));
  for (size_t t = 0; t < q.size(); ++t) {
    const auto reach = static_cast<size_t>(window);
    const size_t first = window > 0 && t + 1 > reach ? t + 1 - reach : 0;
    for (size_t head = 0; head < static_cast<size_t>(spec.n_head); ++head) {
      AttendHead(spec, q[t].data() + head * d, k, v, head / group * d, first, t,
                 out[t].data() + head * d);
    }
  }
  return out;
}

Rows AttentionBlock(const ModelSpec& spec, size_t index, const LayerWeights& layer, int32_t n_ctx,
                    Rows x) {
  const RopeSpec& rope = spec.uses_local_rope[index] ? spec.rope_local : spec.rope;
  NormAll(layer.attn_norm, spec.norm_eps, &x);
  Rows q = Linear(layer.wq, layer.bq, x);
  Rows k = Linear(layer.wk, layer.bk, x);
  const Rows v = Linear(layer.wv, layer.bv, x);
  NormAndRotate(spec, rope, n_ctx, layer.q_norm, &q);
  NormAndRotate(spec, rope, n_ctx, layer.k_norm, &k);
  Rows out = Linear(layer.wo, layer.bo, Attend(spec, spec.window[index], q, k, v));
  NormAll(layer.attn_post_norm, spec.norm_eps, &out);
  return out;
}

Rows FeedForwardBlock(const ModelSpec& spec, const LayerWeights& layer, Rows x) {
  NormAll(layer.ffn_norm, spec.norm_eps, &x);
  Rows gate = Linear(layer.w_gate, layer.b_gate, x);
  const Rows up = Linear(layer.w_up, layer.b_up, x);
  for (size_t t = 0; t < gate.size(); ++t) {
    for (size_t i = 0; i < gate[t].size(); ++i) {
      gate[t][i] = Activate(spec.activation, gate[t][i]) * up[t][i];
    }
  }
  Rows out = Linear(layer.w_down, layer.b_down, gate);
  NormAll(layer.ffn_post_norm, spec.norm_eps, &out);
  return out;
}

}  // namespace

ReferenceRope ResolveReferenceRope(const RopeSpec& spec, int32_t n_ctx) {
  ReferenceRope rope;
  const bool is_long = n_ctx > spec.original_context;
  const std::vector<float>& factors = is_long ? spec.long_factors : spec.short_factors;
  for (int32_t pair = 0; pair < spec.n_rot / 2; ++pair) {
    const auto i = static_cast<size_t>(pair);
    double freq = std::pow(spec.freq_base, -2.0 * pair / spec.n_rot);
    if (!spec.freq_divisors.empty()) freq /= spec.freq_divisors[i];
    if (spec.scaling == RopeScaling::kLinear) freq /= spec.factor;
    if (spec.scaling == RopeScaling::kYarn) freq = YarnFreq(spec, freq, pair);
    if (spec.scaling == RopeScaling::kLlama3) freq = Llama3Freq(spec, freq);
    if (spec.scaling == RopeScaling::kLongRope) freq /= factors[i];
    rope.inverse_freqs.push_back(freq);
  }
  const bool scales = spec.scaling == RopeScaling::kYarn || spec.scaling == RopeScaling::kLongRope;
  if (!scales) return rope;
  rope.magnitude = spec.attn_factor;
  if (spec.attn_factor == 0) {
    rope.magnitude = spec.scaling == RopeScaling::kYarn
                         ? 1 + 0.1 * std::log(spec.factor)
                         : std::sqrt(1 + std::log(spec.factor) / std::log(spec.original_context));
  }
  return rope;
}

std::vector<double> ReferenceLogits(const Model& model, std::span<const TokenId> tokens,
                                    int32_t n_ctx) {
  const ModelSpec& spec = model.spec;
  Rows x;
  for (const TokenId token : tokens) {
    const std::vector<float> row = RowOf(model.weights.token_embd, token);
    x.emplace_back(row.begin(), row.end());
    for (double& value : x.back()) value *= spec.embedding_scale;
  }
  for (size_t i = 0; i < model.weights.layers.size(); ++i) {
    const LayerWeights& layer = model.weights.layers[i];
    AddTo(&x, AttentionBlock(spec, i, layer, n_ctx, x));
    AddTo(&x, FeedForwardBlock(spec, layer, x));
  }
  NormAll(model.weights.output_norm, spec.norm_eps, &x);
  std::vector<double> logits;
  for (const Row& row : Linear(model.weights.output, {}, x)) {
    for (const double logit : row) logits.push_back(SoftCap(logit, spec.final_softcap));
  }
  return logits;
}

}  // namespace kvasir
