#include "kvasir/model/gguf_spec.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kvasir/model/gguf_layout.h"

namespace kvasir {
namespace {

// Far above any model, low enough that products of two fit 64 bits with room to spare.
constexpr uint32_t kMaxLayers = 4096;
constexpr uint32_t kMaxLength = 1u << 24;

// Keys that change the computation in ways that this build does not follow. A value of 0 or false
// is a converter spelling out that the feature is off.
constexpr std::string_view kRefusedKeys[] = {
    "expert_count",
    "expert_used_count",
    "ssm.",
    "wkv.",
    "full_attention_interval",
    "nextn_predict_layers",
    "logit_scale",
    "residual_scale",
    "embedding_scale",
    "attention.scale",
    "attention.clamp_kqv",
    "attention.max_alibi_bias",
    "attention.temperature",
    "attention.kv_lora_rank",
    "attention.q_lora_rank",
    "attention.indexer.",
    "attention.shared_kv_layers",
    "attention.key_length_swa",
    "attention.value_length_swa",
    "attention.sinks",
    "rope.scaling.yarn_log_multiplier",
};

class SpecReader {
 public:
  explicit SpecReader(const GgufFile& file) : file_(file) {}

  Result<ModelSpec> Read() {
    KVASIR_RETURN_IF_ERROR(ReadArchitecture());
    KVASIR_RETURN_IF_ERROR(RefuseForeignKeys());
    KVASIR_RETURN_IF_ERROR(ReadSizes());
    KVASIR_RETURN_IF_ERROR(ReadHeads());
    KVASIR_RETURN_IF_ERROR(ReadRope());
    KVASIR_RETURN_IF_ERROR(ReadWindows());
    KVASIR_RETURN_IF_ERROR(ReadSoftcaps());
    ResolveScales();
    return std::move(spec_);
  }

 private:
  std::string Key(std::string_view suffix) const {
    return fmt::format("{}.{}", spec_.architecture, suffix);
  }
  bool IsArch(std::string_view name) const { return spec_.architecture == name; }
  bool IsGemma() const { return IsArch("gemma2") || IsArch("gemma3"); }

  Status Unsupported(std::string_view key, std::string_view what) const {
    return Status::Unsupported(fmt::format("{}: key '{}': {}", file_.path(), Printable(key), what));
  }
  Status Wrong(std::string_view key, std::string_view what) const {
    return Status::Corruption(fmt::format("{}: key '{}': {}", file_.path(), Printable(key), what));
  }

  Status ReadArchitecture() {
    KVASIR_ASSIGN_OR_RETURN(const std::string_view name, file_.GetString("general.architecture"));
    if (!IsKnownArchitecture(name)) {
      return Unsupported("general.architecture",
                         fmt::format("'{}' is not supported; supported are {}", Printable(name),
                                     kKnownArchitectures));
    }
    spec_.architecture = name;
    KVASIR_ASSIGN_OR_RETURN(spec_.name, file_.GetString("general.name", name));
    return Status::Ok();
  }

  Status RefuseForeignKeys() const {
    for (const GgufEntry& entry : file_.metadata()) {
      for (const std::string_view refused : kRefusedKeys) {
        if (!entry.key.starts_with(Key(refused)) || IsOff(entry)) continue;
        return Unsupported(entry.key, "asks for something that this build does not do");
      }
    }
    KVASIR_ASSIGN_OR_RETURN(const bool causal, file_.GetBool(Key("attention.causal"), true));
    if (!causal)
      return Unsupported(Key("attention.causal"), "is false; only causal models are run");
    return Status::Ok();
  }

  bool IsOff(const GgufEntry& entry) const {
    if (entry.value.type == GgufType::kArray || entry.value.type == GgufType::kString) return false;
    return std::all_of(entry.value.bytes.begin(), entry.value.bytes.end(),
                       [](std::byte b) { return b == std::byte{0}; });
  }

  // An integer in [1, max].
  Status ReadLength(std::string_view suffix, uint32_t max, int32_t* out) const {
    KVASIR_ASSIGN_OR_RETURN(const uint32_t n, file_.GetU32(Key(suffix)));
    return StoreLength(Key(suffix), n, max, out);
  }

  Status StoreLength(std::string_view key, uint32_t n, uint32_t max, int32_t* out) const {
    if (n < 1 || n > max) return Wrong(key, fmt::format("expected 1 to {}, found {}", max, n));
    *out = static_cast<int32_t>(n);
    return Status::Ok();
  }

  // A length that some converters write once per layer.
  Status ReadLayerLength(std::string_view suffix, int32_t* out) const {
    const std::string key = Key(suffix);
    const GgufValue* value = file_.Find(key);
    if (value == nullptr || value->type != GgufType::kArray) {
      return ReadLength(suffix, kMaxLength, out);
    }
    KVASIR_ASSIGN_OR_RETURN(const std::vector<uint32_t> layers, file_.GetU32s(key));
    if (layers.size() != static_cast<size_t>(spec_.n_layer)) {
      return Wrong(key, fmt::format("expected one value for each of {} layers, found {}",
                                    spec_.n_layer, layers.size()));
    }
    for (size_t i = 1; i < layers.size(); ++i) {
      if (layers[i] == layers[0]) continue;
      return Unsupported(key, fmt::format("differs between layers: {} in layer 0, {} in layer {}",
                                          layers[0], layers[i], i));
    }
    return StoreLength(key, layers[0], kMaxLength, out);
  }

  Status ReadSizes() {
    KVASIR_RETURN_IF_ERROR(ReadLength("block_count", kMaxLayers, &spec_.n_layer));
    KVASIR_RETURN_IF_ERROR(ReadLength("embedding_length", kMaxLength, &spec_.n_embd));
    KVASIR_RETURN_IF_ERROR(ReadLayerLength("feed_forward_length", &spec_.n_ff));
    KVASIR_RETURN_IF_ERROR(
        ReadLength("context_length", std::numeric_limits<int32_t>::max(), &spec_.n_ctx_train));
    KVASIR_RETURN_IF_ERROR(ReadVocabularySize());
    const std::string eps_key = Key("attention.layer_norm_rms_epsilon");
    KVASIR_ASSIGN_OR_RETURN(spec_.norm_eps, file_.GetF32(eps_key));
    if (!(spec_.norm_eps >= 0.0f && spec_.norm_eps < 1.0f)) {
      return Wrong(eps_key, fmt::format("expected 0 <= x < 1, found {}", spec_.norm_eps));
    }
    return Status::Ok();
  }

  Status ReadVocabularySize() {
    if (file_.Has(Key("vocab_size"))) return ReadLength("vocab_size", kMaxLength, &spec_.n_vocab);
    constexpr std::string_view kTokens = "tokenizer.ggml.tokens";
    const GgufValue* tokens = file_.Find(kTokens);
    if (tokens == nullptr || tokens->type != GgufType::kArray) {
      return Status::NotFound(fmt::format("{}: keys '{}' and '{}' are both missing", file_.path(),
                                          Key("vocab_size"), kTokens));
    }
    const uint32_t n = static_cast<uint32_t>(std::min<uint64_t>(tokens->count, UINT32_MAX));
    return StoreLength(kTokens, n, kMaxLength, &spec_.n_vocab);
  }

  Status ReadHeads() {
    KVASIR_RETURN_IF_ERROR(ReadLayerLength("attention.head_count", &spec_.n_head));
    spec_.n_kv_head = spec_.n_head;
    if (file_.Has(Key("attention.head_count_kv"))) {
      KVASIR_RETURN_IF_ERROR(ReadLayerLength("attention.head_count_kv", &spec_.n_kv_head));
    }
    if (spec_.n_head % spec_.n_kv_head != 0) {
      return Wrong(Key("attention.head_count_kv"),
                   fmt::format("{} does not divide head_count {}", spec_.n_kv_head, spec_.n_head));
    }
    const uint32_t even_share = static_cast<uint32_t>(spec_.n_embd / spec_.n_head);
    const std::string k_key = Key("attention.key_length");
    const std::string v_key = Key("attention.value_length");
    KVASIR_ASSIGN_OR_RETURN(const uint32_t k_length, file_.GetU32(k_key, even_share));
    KVASIR_ASSIGN_OR_RETURN(const uint32_t v_length, file_.GetU32(v_key, even_share));
    if (k_length != v_length) {
      return Unsupported(v_key, fmt::format("is {} while keys have {}; one length is supported",
                                            v_length, k_length));
    }
    if (!file_.Has(k_key) && spec_.n_embd % spec_.n_head != 0) {
      return Wrong(
          Key("attention.head_count"),
          fmt::format("{} does not divide embedding_length {}", spec_.n_head, spec_.n_embd));
    }
    return StoreLength(k_key, k_length, kMaxLength, &spec_.head_dim);
  }

  // --- RoPE ---

  Status ReadRope() {
    RopeSpec& rope = spec_.rope;
    rope.pairing = IsArch("llama") ? RopePairing::kAdjacent : RopePairing::kHalves;
    const std::string rot_key = Key("rope.dimension_count");
    const auto head_dim = static_cast<uint32_t>(spec_.head_dim);
    KVASIR_ASSIGN_OR_RETURN(const uint32_t n_rot, file_.GetU32(rot_key, head_dim));
    if (n_rot < 2 || n_rot > head_dim || n_rot % 2 != 0) {
      return Wrong(rot_key,
                   fmt::format("expected an even number from 2 to {}, found {}", head_dim, n_rot));
    }
    rope.n_rot = static_cast<int32_t>(n_rot);
    KVASIR_RETURN_IF_ERROR(ReadPositive("rope.freq_base", 10000.0, &rope.freq_base));
    spec_.rope_local = rope;
    if (IsArch("gemma3")) {
      KVASIR_RETURN_IF_ERROR(
          ReadPositive("rope.freq_base_swa", 10000.0, &spec_.rope_local.freq_base));
    }
    return ReadRopeScaling(&rope);
  }

  Status ReadPositive(std::string_view suffix, double fallback, double* out) const {
    *out = fallback;
    if (!file_.Has(Key(suffix))) return Status::Ok();
    KVASIR_ASSIGN_OR_RETURN(const float value, file_.GetF32(Key(suffix)));
    if (!(value > 0.0f) || !std::isfinite(value)) {
      return Wrong(Key(suffix), fmt::format("expected a positive number, found {}", value));
    }
    *out = value;
    return Status::Ok();
  }

  // Files that predate rope.scaling.* have scale_linear; 0 means unset in both.
  Status ReadFactor(double* factor) const {
    for (const std::string_view suffix : {"rope.scaling.factor", "rope.scale_linear"}) {
      KVASIR_ASSIGN_OR_RETURN(const float value, file_.GetF32(Key(suffix), 0.0f));
      if (value == 0.0f) continue;
      return ReadPositive(suffix, 1.0, factor);
    }
    return Status::Ok();
  }

  Status ReadRopeScaling(RopeSpec* rope) const {
    const auto n_ctx_train = static_cast<uint32_t>(spec_.n_ctx_train);
    const std::string original_key = Key("rope.scaling.original_context_length");
    KVASIR_ASSIGN_OR_RETURN(const uint32_t original, file_.GetU32(original_key, n_ctx_train));
    KVASIR_RETURN_IF_ERROR(StoreLength(original_key, original, std::numeric_limits<int32_t>::max(),
                                       &rope->original_context));
    KVASIR_RETURN_IF_ERROR(ReadFactor(&rope->factor));
    const std::string type_key = Key("rope.scaling.type");
    KVASIR_ASSIGN_OR_RETURN(const std::string_view type, file_.GetString(type_key, "linear"));
    if (type == "none") {
      rope->factor = 1.0;
    } else if (type == "linear") {
      if (rope->factor != 1.0) rope->scaling = RopeScaling::kLinear;
    } else if (type == "yarn") {
      KVASIR_RETURN_IF_ERROR(ReadYarn(rope));
    } else if (type != "longrope") {
      return Unsupported(
          type_key,
          fmt::format("'{}'; none, linear, yarn and longrope are supported", Printable(type)));
    }
    // Older files carry the factors without naming the scaling.
    if (type != "longrope" && file_.FindTensor("rope_factors_long.weight") == nullptr) {
      return Status::Ok();
    }
    rope->scaling = RopeScaling::kLongRope;
    return ReadLongRopeMagnitude(rope);
  }

  // A file's attn_factor multiplies YaRN's own magnitude 1 + 0.1 ln(factor).
  Status ReadYarn(RopeSpec* rope) const {
    rope->scaling = RopeScaling::kYarn;
    double ext_factor = 1.0;
    double scaling_magnitude = 1.0;
    double yarn_magnitude = 1.0;
    KVASIR_RETURN_IF_ERROR(ReadPositive("rope.scaling.yarn_beta_fast", 32.0, &rope->beta_fast));
    KVASIR_RETURN_IF_ERROR(ReadPositive("rope.scaling.yarn_beta_slow", 1.0, &rope->beta_slow));
    KVASIR_RETURN_IF_ERROR(ReadPositive("rope.scaling.yarn_ext_factor", 1.0, &ext_factor));
    KVASIR_RETURN_IF_ERROR(ReadPositive("rope.scaling.attn_factor", 1.0, &scaling_magnitude));
    KVASIR_RETURN_IF_ERROR(ReadPositive("rope.scaling.yarn_attn_factor", 1.0, &yarn_magnitude));
    if (ext_factor != 1.0) {
      return Unsupported(Key("rope.scaling.yarn_ext_factor"),
                         fmt::format("{}; only 1 is supported", ext_factor));
    }
    const double magnitude = scaling_magnitude * yarn_magnitude;
    if (magnitude != 1.0) rope->attn_factor = magnitude * (1.0 + 0.1 * std::log(rope->factor));
    return Status::Ok();
  }

  // Without the key: the magnitude that LongRoPE's authors derive from the two context lengths.
  Status ReadLongRopeMagnitude(RopeSpec* rope) const {
    const double scale = static_cast<double>(spec_.n_ctx_train) / rope->original_context;
    const double derived =
        scale > 1.0 ? std::sqrt(1.0 + std::log(scale) / std::log(rope->original_context)) : 1.0;
    return ReadPositive("rope.scaling.attn_factor", derived, &rope->attn_factor);
  }

  // --- windows ---

  Status ReadWindows() {
    spec_.window.assign(static_cast<size_t>(spec_.n_layer), 0);
    spec_.uses_local_rope.assign(static_cast<size_t>(spec_.n_layer), false);
    uint32_t window = 0;
    KVASIR_RETURN_IF_ERROR(ReadWindow(&window));
    std::vector<bool> local;
    KVASIR_RETURN_IF_ERROR(ReadLocalLayers(&local));
    for (size_t layer = 0; layer < local.size(); ++layer) {
      if (!local[layer]) continue;
      // A window as long as the trained context never masks anything.
      if (window < static_cast<uint32_t>(spec_.n_ctx_train)) {
        spec_.window[layer] = static_cast<int32_t>(window);
      }
      spec_.uses_local_rope[layer] = IsArch("gemma3");
    }
    return Status::Ok();
  }

  Status ReadWindow(uint32_t* window) const {
    const std::string key = Key("attention.sliding_window");
    if (IsArch("gemma3")) {
      KVASIR_ASSIGN_OR_RETURN(*window, file_.GetU32(key));
      return Status::Ok();
    }
    // Qwen's files are run with full attention whatever the key says; llama.cpp does the same.
    if (IsArch("qwen2") || IsArch("qwen3")) return Status::Ok();
    KVASIR_ASSIGN_OR_RETURN(*window, file_.GetU32(key, DefaultWindow()));
    return Status::Ok();
  }

  // What files made before their converter wrote the key rely on.
  uint32_t DefaultWindow() const {
    if (IsArch("gemma2")) return 4096;
    if (!IsArch("phi3")) return 0;
    const bool mini_or_medium = spec_.n_layer == 32 || spec_.n_layer == 40;
    if (mini_or_medium && spec_.n_ctx_train == 4096) return 2047;
    if (spec_.n_layer == 32 && spec_.n_kv_head == 32 && spec_.n_ctx_train == 131072) return 262144;
    if (spec_.n_layer == 40 && spec_.n_ctx_train == 131072) return 131072;
    return 0;
  }

  // Layers that look through the window: every one, or in groups of `period` all but the last.
  Status ReadLocalLayers(std::vector<bool>* local) const {
    local->assign(static_cast<size_t>(spec_.n_layer), true);
    const std::string key = Key("attention.sliding_window_pattern");
    const GgufValue* value = file_.Find(key);
    if (value != nullptr && value->type == GgufType::kArray) {
      KVASIR_ASSIGN_OR_RETURN(*local, file_.GetBools(key));
      if (local->size() == static_cast<size_t>(spec_.n_layer)) return Status::Ok();
      return Wrong(key, fmt::format("expected one value for each of {} layers, found {}",
                                    spec_.n_layer, local->size()));
    }
    const uint32_t usual = IsArch("gemma2") ? 2 : IsArch("gemma3") ? 6 : 0;
    KVASIR_ASSIGN_OR_RETURN(const uint32_t period, file_.GetU32(key, usual));
    if (period == 0) return Status::Ok();
    for (size_t layer = 0; layer < local->size(); ++layer) {
      (*local)[layer] = layer % period != period - 1;
    }
    return Status::Ok();
  }

  // --- the rest ---

  Status ReadSoftcaps() {
    if (!IsGemma()) return Status::Ok();
    const bool gemma2 = IsArch("gemma2");
    KVASIR_RETURN_IF_ERROR(
        ReadSoftcap("attn_logit_softcapping", gemma2 ? 50.0f : 0.0f, &spec_.attn_softcap));
    return ReadSoftcap("final_logit_softcapping", gemma2 ? 30.0f : 0.0f, &spec_.final_softcap);
  }

  Status ReadSoftcap(std::string_view suffix, float fallback, float* out) const {
    KVASIR_ASSIGN_OR_RETURN(*out, file_.GetF32(Key(suffix), fallback));
    if (*out >= 0.0f && std::isfinite(*out)) return Status::Ok();
    return Wrong(Key(suffix), fmt::format("expected 0 or more, found {}", *out));
  }

  void ResolveScales() {
    // The 27B models divide by their width per head, which is not the length of their heads, and
    // files do not say so.
    const bool is_27b =
        (IsArch("gemma2") && spec_.n_layer == 46) || (IsArch("gemma3") && spec_.n_layer == 62);
    const int32_t divisor = is_27b ? spec_.n_embd / spec_.n_head : spec_.head_dim;
    spec_.attn_scale = 1.0f / std::sqrt(static_cast<float>(divisor));
    if (!IsGemma()) return;
    spec_.activation = Activation::kGeluTanh;
    spec_.embedding_scale = std::sqrt(static_cast<float>(spec_.n_embd));
  }

  const GgufFile& file_;
  ModelSpec spec_;
};

}  // namespace

Result<ModelSpec> ReadGgufSpec(const GgufFile& file) { return SpecReader(file).Read(); }

}  // namespace kvasir
