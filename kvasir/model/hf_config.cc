#include "kvasir/model/hf_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>
#include <vector>

#include "kvasir/model/gguf.h"

namespace kvasir {
namespace {

constexpr int32_t kMaxLayers = 4096;

// Which layers have the sliding window when `layer_types` does not say.
enum class WindowRule { kNever, kAll, kUpper, kAllButEvery };

// Which projections of the attention have biases.
enum class BiasRule { kNever, kQkv, kConfigured };

// What a configuration class of transformers assumes for keys that its files may leave out.
// 0 = the key must be there (n_kv_head: as many as heads; head_dim: width / heads).
struct Family {
  const char* architecture;
  WindowRule window_rule = WindowRule::kNever;
  int32_t window_every = 0;  // kAllButEvery: each n-th layer sees everything
  int32_t window = 0;        // 0 = none
  int32_t n_layer = 0, n_embd = 0, n_ff = 0, n_head = 0, n_kv_head = 0, head_dim = 0;
  int32_t n_vocab = 0, n_ctx_train = 0;
  double norm_eps = 1e-6;
  double rope_theta = 10000.0;
  const char* activation_key = "hidden_act";
  const char* activation = "silu";
  bool tied = false;
  BiasRule attention_bias = BiasRule::kNever;
  bool mlp_bias = false;  // read from the file
  bool qk_norm = false;
  double attn_softcap = 0, final_softcap = 0;
};

const Family kLlama = {.architecture = "llama",
                       .n_ctx_train = 2048,
                       .attention_bias = BiasRule::kConfigured,
                       .mlp_bias = true};
const Family kMistral = {.architecture = "llama",
                         .window_rule = WindowRule::kAll,
                         .window = 4096,
                         .n_kv_head = 8,
                         .n_ctx_train = 131072};
const Family kQwen2 = {.architecture = "qwen2",
                       .window_rule = WindowRule::kUpper,
                       .window = 4096,
                       .n_kv_head = 32,
                       .n_ctx_train = 32768,
                       .attention_bias = BiasRule::kQkv};
const Family kQwen3 = {.architecture = "qwen3",
                       .window_rule = WindowRule::kUpper,
                       .window = 4096,
                       .n_kv_head = 32,
                       .head_dim = 128,
                       .n_ctx_train = 32768,
                       .attention_bias = BiasRule::kConfigured,
                       .qk_norm = true};
const Family kGemma2 = {.architecture = "gemma2",
                        .window_rule = WindowRule::kAllButEvery,
                        .window_every = 2,
                        .window = 4096,
                        .n_layer = 26,
                        .n_embd = 2304,
                        .n_ff = 9216,
                        .n_head = 8,
                        .n_kv_head = 4,
                        .head_dim = 256,
                        .n_vocab = 256000,
                        .n_ctx_train = 8192,
                        .activation_key = "hidden_activation",
                        .activation = "gelu_pytorch_tanh",
                        .tied = true,
                        .attention_bias = BiasRule::kConfigured,
                        .attn_softcap = 50,
                        .final_softcap = 30};
const Family kGemma3 = {.architecture = "gemma3",
                        .window_rule = WindowRule::kAllButEvery,
                        .window_every = 6,
                        .window = 4096,
                        .n_layer = 26,
                        .n_embd = 2304,
                        .n_ff = 9216,
                        .n_head = 8,
                        .n_kv_head = 4,
                        .head_dim = 256,
                        .n_vocab = 262208,
                        .n_ctx_train = 131072,
                        .rope_theta = 1000000.0,
                        .activation_key = "hidden_activation",
                        .activation = "gelu_pytorch_tanh",
                        .tied = true,
                        .attention_bias = BiasRule::kConfigured,
                        .qk_norm = true};
const Family kPhi3 = {
    .architecture = "phi3", .window_rule = WindowRule::kAll, .n_ctx_train = 4096, .norm_eps = 1e-5};

struct NamedFamily {
  const char* name;  // in `architectures`
  const Family* family;
};
constexpr NamedFamily kFamilies[] = {
    {"LlamaForCausalLM", &kLlama},   {"MistralForCausalLM", &kMistral},
    {"Qwen2ForCausalLM", &kQwen2},   {"Qwen3ForCausalLM", &kQwen3},
    {"Gemma2ForCausalLM", &kGemma2}, {"Gemma3ForCausalLM", &kGemma3},
    {"Gemma3TextModel", &kGemma3},   {"Gemma3ForConditionalGeneration", &kGemma3},
    {"Phi3ForCausalLM", &kPhi3},
};

bool IsGemma(const ModelSpec& spec) { return spec.architecture.starts_with("gemma"); }

Result<const Family*> FindFamily(const JsonFields& root) {
  KVASIR_ASSIGN_OR_RETURN(const auto names, root.Strings("architectures"));
  std::string known;
  for (const NamedFamily& entry : kFamilies) {
    if (names.size() == 1 && names.front() == entry.name) return entry.family;
    known += known.empty() ? "" : ", ";
    known += entry.name;
  }
  return Status::Unsupported(fmt::format("{}: expected one of {}; found {}",
                                         root.Where("architectures"), known,
                                         Printable(root.Find("architectures")->dump())));
}

// Settings that would change the arithmetic and that nothing here reads.
Status RefuseUnknownArithmetic(const JsonFields& root, const JsonFields& text) {
  for (const JsonFields* fields : {&root, &text}) {
    if (!fields->Has("quantization_config")) continue;
    KVASIR_ASSIGN_OR_RETURN(const JsonFields quantization, fields->Object("quantization_config"));
    KVASIR_ASSIGN_OR_RETURN(const std::string method,
                            quantization.String("quant_method", "unnamed"));
    return Status::Unsupported(
        fmt::format("{}: quant_method \"{}\": expected weights in F32, F16 or BF16",
                    fields->Where("quantization_config"), Printable(method)));
  }
  KVASIR_ASSIGN_OR_RETURN(const bool bidirectional,
                          text.Bool("use_bidirectional_attention", false));
  if (bidirectional) {
    return Status::Unsupported(fmt::format("{}: true: expected causal attention",
                                           text.Where("use_bidirectional_attention")));
  }
  return Status::Ok();
}

Result<Activation> ParseActivation(const JsonFields& text, const Family& family) {
  KVASIR_ASSIGN_OR_RETURN(const std::string name,
                          text.String(family.activation_key, family.activation));
  if (name == "silu" || name == "swish") return Activation::kSilu;
  if (name == "gelu_pytorch_tanh" || name == "gelu_new") return Activation::kGeluTanh;
  return Status::Unsupported(
      fmt::format("{}: \"{}\": expected silu, swish, gelu_pytorch_tanh or gelu_new",
                  text.Where(family.activation_key), Printable(name)));
}

std::optional<int32_t> Default(int32_t value) {
  return value == 0 ? std::nullopt : std::optional(value);
}

Status FillSizes(const JsonFields& text, const Family& family, ModelSpec* spec) {
  constexpr int32_t kMax = INT32_MAX;
  const auto size = [&](const char* key, std::optional<int32_t> fallback) {
    return text.Int(key, 1, kMax, fallback);
  };
  KVASIR_ASSIGN_OR_RETURN(spec->n_layer,
                          text.Int("num_hidden_layers", 1, kMaxLayers, Default(family.n_layer)));
  KVASIR_ASSIGN_OR_RETURN(spec->n_embd, size("hidden_size", Default(family.n_embd)));
  KVASIR_ASSIGN_OR_RETURN(spec->n_ff, size("intermediate_size", Default(family.n_ff)));
  KVASIR_ASSIGN_OR_RETURN(spec->n_head, size("num_attention_heads", Default(family.n_head)));
  const int32_t n_kv_head = family.n_kv_head != 0 ? family.n_kv_head : spec->n_head;
  KVASIR_ASSIGN_OR_RETURN(spec->n_kv_head, size("num_key_value_heads", n_kv_head));
  KVASIR_ASSIGN_OR_RETURN(spec->n_vocab, size("vocab_size", Default(family.n_vocab)));
  KVASIR_ASSIGN_OR_RETURN(spec->n_ctx_train,
                          size("max_position_embeddings", Default(family.n_ctx_train)));
  const int32_t head_dim = family.head_dim != 0 ? family.head_dim : spec->n_embd / spec->n_head;
  KVASIR_ASSIGN_OR_RETURN(spec->head_dim, size("head_dim", head_dim));
  if (spec->head_dim % 2 != 0 || spec->head_dim == 0) {
    return Status::Corruption(fmt::format("{}: expected an even number above 0, found {}",
                                          text.Where("head_dim"), spec->head_dim));
  }
  if (spec->n_head % spec->n_kv_head != 0) {
    return Status::Corruption(fmt::format("{}: expected a divisor of {} heads, found {}",
                                          text.Where("num_key_value_heads"), spec->n_head,
                                          spec->n_kv_head));
  }
  return Status::Ok();
}

// A soft-cap; null means none, an absent key the family's own.
Result<float> SoftCap(const JsonFields& text, const char* key, double fallback) {
  if (text.IsNull(key)) return 0.0f;
  KVASIR_ASSIGN_OR_RETURN(const double cap, text.Positive(key, fallback));
  return static_cast<float>(cap);
}

Status FillGemmaScales(const JsonFields& text, const Family& family, ModelSpec* spec) {
  spec->embedding_scale = static_cast<float>(std::sqrt(spec->n_embd));
  KVASIR_ASSIGN_OR_RETURN(const double scalar, text.Positive("query_pre_attn_scalar", 256.0));
  spec->attn_scale = static_cast<float>(1.0 / std::sqrt(scalar));
  KVASIR_ASSIGN_OR_RETURN(spec->final_softcap,
                          SoftCap(text, "final_logit_softcapping", family.final_softcap));
  if (family.attn_softcap == 0) return Status::Ok();  // transformers reads it for gemma2 only
  KVASIR_ASSIGN_OR_RETURN(spec->attn_softcap,
                          SoftCap(text, "attn_logit_softcapping", family.attn_softcap));
  return Status::Ok();
}

Status FillScales(const JsonFields& text, const Family& family, ModelSpec* spec) {
  KVASIR_ASSIGN_OR_RETURN(const double eps, text.Positive("rms_norm_eps", family.norm_eps));
  if (eps >= 1) {
    return Status::Corruption(
        fmt::format("{}: expected less than 1, found {}", text.Where("rms_norm_eps"), eps));
  }
  spec->norm_eps = static_cast<float>(eps);
  KVASIR_ASSIGN_OR_RETURN(spec->activation, ParseActivation(text, family));
  spec->attn_scale = static_cast<float>(1.0 / std::sqrt(spec->head_dim));
  return IsGemma(*spec) ? FillGemmaScales(text, family, spec) : Status::Ok();
}

// Per layer, whether it has the sliding window.
Result<std::vector<bool>> ListedSlidingLayers(const JsonFields& text, size_t n_layer) {
  KVASIR_ASSIGN_OR_RETURN(const auto types, text.Strings("layer_types"));
  if (types.size() != n_layer) {
    return Status::Corruption(fmt::format("{}: expected {} entries, found {}",
                                          text.Where("layer_types"), n_layer, types.size()));
  }
  std::vector<bool> sliding;
  for (const std::string& type : types) {
    if (type != "sliding_attention" && type != "full_attention") {
      return Status::Unsupported(
          fmt::format("{}: \"{}\": expected full_attention or sliding_attention",
                      text.Where("layer_types"), Printable(type)));
    }
    sliding.push_back(type == "sliding_attention");
  }
  return sliding;
}

Result<std::vector<bool>> SlidingLayers(const JsonFields& text, const Family& family,
                                        int32_t n_layer) {
  if (text.Has("layer_types")) {
    return ListedSlidingLayers(text, static_cast<size_t>(n_layer));
  }
  KVASIR_ASSIGN_OR_RETURN(const int32_t first, text.Int("max_window_layers", 0, INT32_MAX, 28));
  int32_t every = family.window_every;
  if (family.architecture == kGemma3.architecture) {
    KVASIR_ASSIGN_OR_RETURN(every, text.Int("sliding_window_pattern", 1, kMaxLayers, every));
  }
  std::vector<bool> sliding;
  for (int32_t layer = 0; layer < n_layer; ++layer) {
    switch (family.window_rule) {
      case WindowRule::kNever: sliding.push_back(false); break;
      case WindowRule::kAll: sliding.push_back(true); break;
      case WindowRule::kUpper: sliding.push_back(layer >= first); break;
      case WindowRule::kAllButEvery: sliding.push_back((layer + 1) % every != 0); break;
    }
  }
  return sliding;
}

// Tokens in the window; 0 = the model has none.
Result<int32_t> WindowSize(const JsonFields& text, const Family& family) {
  if (text.IsNull("sliding_window")) return 0;
  if (family.window_rule == WindowRule::kUpper) {
    KVASIR_ASSIGN_OR_RETURN(const bool used, text.Bool("use_sliding_window", false));
    if (!used) return 0;
  }
  return text.Int("sliding_window", 1, INT32_MAX, family.window);
}

// rope_parameters where it lists each layer type; the older rope_scaling never does.
Result<std::optional<JsonFields>> RopePerLayerType(const JsonFields& text) {
  if (!text.Has("rope_parameters")) return std::optional<JsonFields>();
  KVASIR_ASSIGN_OR_RETURN(const JsonFields all, text.Object("rope_parameters"));
  const bool listed = all.Has("full_attention") || all.Has("sliding_attention");
  return listed ? std::optional(all) : std::nullopt;
}

// RoPE of one layer type, from an entry of `holder`, or plain when it has none.
Result<RopeSpec> ParseRopeAt(const JsonFields& text, const JsonFields& holder, const char* key,
                             double freq_base, const ModelSpec& spec) {
  if (!holder.Has(key)) return ParseHfRope(text, nullptr, freq_base, spec);
  KVASIR_ASSIGN_OR_RETURN(const JsonFields parameters, holder.Object(key));
  return ParseHfRope(text, &parameters, freq_base, spec);
}

// `sliding` says which layers take the local RoPE where the model has one.
Status FillRope(const JsonFields& text, const Family& family, std::vector<bool> sliding,
                ModelSpec* spec) {
  const bool gemma3 = spec->architecture == "gemma3";
  KVASIR_ASSIGN_OR_RETURN(const double theta, text.Positive("rope_theta", family.rope_theta));
  KVASIR_ASSIGN_OR_RETURN(const double local_theta,
                          text.Positive("rope_local_base_freq", gemma3 ? 10000.0 : theta));
  KVASIR_ASSIGN_OR_RETURN(const auto listed, RopePerLayerType(text));
  const char* flat_key = text.Has("rope_scaling") ? "rope_scaling" : "rope_parameters";
  KVASIR_ASSIGN_OR_RETURN(spec->rope,
                          listed ? ParseRopeAt(text, *listed, "full_attention", theta, *spec)
                                 : ParseRopeAt(text, text, flat_key, theta, *spec));
  if (!listed && !gemma3) sliding.assign(sliding.size(), false);
  spec->uses_local_rope = std::move(sliding);
  KVASIR_ASSIGN_OR_RETURN(spec->rope_local, ParseRopeAt(text, listed.value_or(text),
                                                        "sliding_attention", local_theta, *spec));
  return Status::Ok();
}

Status FillLayers(const JsonFields& text, const Family& family, ModelSpec* spec) {
  KVASIR_ASSIGN_OR_RETURN(const auto sliding, SlidingLayers(text, family, spec->n_layer));
  KVASIR_ASSIGN_OR_RETURN(const int32_t window, WindowSize(text, family));
  // A window as long as the trained context never masks anything.
  const bool masks = window < spec->n_ctx_train;
  for (const bool slides : sliding) spec->window.push_back(slides && masks ? window : 0);
  return FillRope(text, family, sliding, spec);
}

Status FillTensorSet(const JsonFields& text, const Family& family, HfConfig* config) {
  KVASIR_ASSIGN_OR_RETURN(config->tied, text.Bool("tie_word_embeddings", family.tied));
  KVASIR_ASSIGN_OR_RETURN(const bool attention_bias, text.Bool("attention_bias", false));
  KVASIR_ASSIGN_OR_RETURN(const bool mlp_bias, text.Bool("mlp_bias", false));
  config->o_bias = family.attention_bias == BiasRule::kConfigured && attention_bias;
  config->qkv_bias = family.attention_bias == BiasRule::kQkv || config->o_bias;
  config->mlp_bias = family.mlp_bias && mlp_bias;
  config->qk_norm = family.qk_norm;
  config->fused = config->spec.architecture == "phi3";
  config->sandwich = IsGemma(config->spec);
  config->norm_offset = IsGemma(config->spec) ? 1.0f : 0.0f;
  return Status::Ok();
}

}  // namespace

Result<HfConfig> ParseHfConfig(const JsonFields& root) {
  KVASIR_ASSIGN_OR_RETURN(const Family* family, FindFamily(root));
  JsonFields text = root;
  if (root.Has("text_config")) {
    KVASIR_ASSIGN_OR_RETURN(text, root.Object("text_config"));
  }
  KVASIR_RETURN_IF_ERROR(RefuseUnknownArithmetic(root, text));
  HfConfig config;
  config.spec.architecture = family->architecture;
  KVASIR_RETURN_IF_ERROR(FillSizes(text, *family, &config.spec));
  KVASIR_RETURN_IF_ERROR(FillScales(text, *family, &config.spec));
  KVASIR_RETURN_IF_ERROR(FillLayers(text, *family, &config.spec));
  KVASIR_RETURN_IF_ERROR(FillTensorSet(text, *family, &config));
  return config;
}

}  // namespace kvasir
