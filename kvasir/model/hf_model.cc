// Loads an HF folder: config.json, safetensors, tokenizer, chat template, generation defaults.
#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "kvasir/core/mapped_file.h"
#include "kvasir/kernels/matmul.h"
#include "kvasir/model/gguf.h"
#include "kvasir/model/hf_config.h"
#include "kvasir/model/json_file.h"
#include "kvasir/model/model.h"
#include "kvasir/model/safetensors.h"
#include "kvasir/model/vocabulary.h"

namespace kvasir {
namespace {

// Hands out tensors after checking their shape, and remembers which ones were asked for.
class WeightReader {
 public:
  WeightReader(const Safetensors& file, std::string folder)
      : file_(file), folder_(std::move(folder)) {}

  // Where the text model's tensors begin, "model." in most files.
  Result<std::string> TextPrefix() const;

  bool Has(const std::string& name) const { return file_.Find(name) != nullptr; }
  Result<Tensor> Matrix(const std::string& name, int64_t rows, int64_t cols);
  // `offset` is added to every element.
  Result<std::vector<float>> Vector(const std::string& name, int64_t n, float offset = 0);

  // A tensor of the text model that nothing asked for would be left out of the arithmetic.
  Status CheckAllUsed(const std::string& prefix, const std::string& architecture) const;
  uint64_t n_elements() const { return n_elements_; }  // of the tensors handed out
  uint64_t n_bytes() const { return n_bytes_; }

 private:
  Result<const SafetensorsEntry*> Take(const std::string& name, const std::vector<int64_t>& shape);

  const Safetensors& file_;
  std::string folder_;
  std::set<std::string> used_;
  uint64_t n_elements_ = 0, n_bytes_ = 0;
};

Result<std::string> WeightReader::TextPrefix() const {
  for (const char* prefix : {"model.", "language_model.model.", "model.language_model.", ""}) {
    if (Has(std::string(prefix) + "embed_tokens.weight")) return std::string(prefix);
  }
  return Status::NotFound(fmt::format("{}: tensor model.embed_tokens.weight: missing", folder_));
}

Result<const SafetensorsEntry*> WeightReader::Take(const std::string& name,
                                                   const std::vector<int64_t>& shape) {
  const SafetensorsEntry* entry = file_.Find(name);
  if (entry == nullptr) {
    return Status::NotFound(fmt::format("{}: tensor {}: missing", folder_, name));
  }
  const std::string& path = file_.paths()[static_cast<size_t>(entry->shard)];
  if (entry->shape != shape) {
    SafetensorsEntry expected;
    expected.shape = shape;
    return Status::Corruption(fmt::format("{}: tensor {}: expected shape {}, found {}", path, name,
                                          expected.ShapeText(), entry->ShapeText()));
  }
  const size_t alignment = InfoOf(entry->type).block_bytes;
  if (reinterpret_cast<uintptr_t>(entry->data.data()) % alignment != 0) {
    return Status::Unsupported(
        fmt::format("{}: tensor {}: expected to start at a multiple of {} bytes, found byte {}",
                    path, name, alignment, entry->offset));
  }
  if (used_.insert(name).second) {
    n_bytes_ += entry->data.size();
    n_elements_ += entry->data.size() / alignment;
  }
  return entry;
}

Result<Tensor> WeightReader::Matrix(const std::string& name, int64_t rows, int64_t cols) {
  KVASIR_ASSIGN_OR_RETURN(const SafetensorsEntry* entry, Take(name, {rows, cols}));
  return Tensor{entry->type, rows, cols, entry->data.data(),
                RowBytes(entry->type, static_cast<size_t>(cols))};
}

Result<std::vector<float>> WeightReader::Vector(const std::string& name, int64_t n, float offset) {
  KVASIR_ASSIGN_OR_RETURN(const SafetensorsEntry* entry, Take(name, {n}));
  std::vector<float> values(static_cast<size_t>(n));
  DequantizeRow(entry->type, entry->data.data(), values.data(), n);
  for (float& value : values) value += offset;
  return values;
}

Status WeightReader::CheckAllUsed(const std::string& prefix,
                                  const std::string& architecture) const {
  for (const auto& [name, entry] : file_.entries()) {
    // Early Llama exports carry the RoPE frequencies, which config.json determines.
    if (!name.starts_with(prefix) || name.ends_with(".rotary_emb.inv_freq")) continue;
    // Tied models may carry the output matrix all the same.
    if (name.ends_with("lm_head.weight") || used_.count(name) > 0) continue;
    return Status::Unsupported(fmt::format("{}: tensor {}: not part of {} as config.json has it",
                                           folder_, Printable(name), architecture));
  }
  return Status::Ok();
}

class LayerLoader {
 public:
  LayerLoader(const HfConfig& config, std::string prefix, WeightReader* reader)
      : config_(config),
        prefix_(std::move(prefix)),
        reader_(*reader),
        n_embd_(config.spec.n_embd),
        n_ff_(config.spec.n_ff),
        n_q_(int64_t{config.spec.n_head} * config.spec.head_dim),
        n_kv_(int64_t{config.spec.n_kv_head} * config.spec.head_dim) {}

  Result<LayerWeights> Load() {
    KVASIR_RETURN_IF_ERROR(config_.fused ? LoadFused() : LoadSeparate());
    KVASIR_ASSIGN_OR_RETURN(layer_.wo, Matrix("self_attn.o_proj", n_embd_, n_q_));
    KVASIR_ASSIGN_OR_RETURN(layer_.w_down, Matrix("mlp.down_proj", n_embd_, n_ff_));
    KVASIR_RETURN_IF_ERROR(LoadBiases());
    KVASIR_RETURN_IF_ERROR(LoadNorms());
    return std::move(layer_);
  }

 private:
  Result<Tensor> Matrix(const char* part, int64_t rows, int64_t cols) {
    return reader_.Matrix(fmt::format("{}{}.weight", prefix_, part), rows, cols);
  }
  Result<std::vector<float>> Norm(const char* part, int64_t n) {
    return reader_.Vector(fmt::format("{}{}.weight", prefix_, part), n, config_.norm_offset);
  }
  Result<std::vector<float>> Bias(const char* part, int64_t n) {
    return reader_.Vector(fmt::format("{}{}.bias", prefix_, part), n);
  }

  Status LoadSeparate() {
    KVASIR_ASSIGN_OR_RETURN(layer_.wq, Matrix("self_attn.q_proj", n_q_, n_embd_));
    KVASIR_ASSIGN_OR_RETURN(layer_.wk, Matrix("self_attn.k_proj", n_kv_, n_embd_));
    KVASIR_ASSIGN_OR_RETURN(layer_.wv, Matrix("self_attn.v_proj", n_kv_, n_embd_));
    KVASIR_ASSIGN_OR_RETURN(layer_.w_gate, Matrix("mlp.gate_proj", n_ff_, n_embd_));
    KVASIR_ASSIGN_OR_RETURN(layer_.w_up, Matrix("mlp.up_proj", n_ff_, n_embd_));
    return Status::Ok();
  }

  Status LoadFused() {
    KVASIR_ASSIGN_OR_RETURN(const Tensor qkv,
                            Matrix("self_attn.qkv_proj", n_q_ + 2 * n_kv_, n_embd_));
    layer_.wq = qkv.Rows(0, n_q_);
    layer_.wk = qkv.Rows(n_q_, n_kv_);
    layer_.wv = qkv.Rows(n_q_ + n_kv_, n_kv_);
    KVASIR_ASSIGN_OR_RETURN(const Tensor gate_up, Matrix("mlp.gate_up_proj", 2 * n_ff_, n_embd_));
    layer_.w_gate = gate_up.Rows(0, n_ff_);
    layer_.w_up = gate_up.Rows(n_ff_, n_ff_);
    return Status::Ok();
  }

  Status LoadBiases() {
    if (config_.qkv_bias) {
      KVASIR_ASSIGN_OR_RETURN(layer_.bq, Bias("self_attn.q_proj", n_q_));
      KVASIR_ASSIGN_OR_RETURN(layer_.bk, Bias("self_attn.k_proj", n_kv_));
      KVASIR_ASSIGN_OR_RETURN(layer_.bv, Bias("self_attn.v_proj", n_kv_));
    }
    if (config_.o_bias) {
      KVASIR_ASSIGN_OR_RETURN(layer_.bo, Bias("self_attn.o_proj", n_embd_));
    }
    if (config_.mlp_bias) {
      KVASIR_ASSIGN_OR_RETURN(layer_.b_gate, Bias("mlp.gate_proj", n_ff_));
      KVASIR_ASSIGN_OR_RETURN(layer_.b_up, Bias("mlp.up_proj", n_ff_));
      KVASIR_ASSIGN_OR_RETURN(layer_.b_down, Bias("mlp.down_proj", n_embd_));
    }
    return Status::Ok();
  }

  // Where gemma norms a block's output, "post_attention_layernorm" means that norm; elsewhere it is
  // the norm before the feed-forward block.
  Status LoadNorms() {
    KVASIR_ASSIGN_OR_RETURN(layer_.attn_norm, Norm("input_layernorm", n_embd_));
    KVASIR_ASSIGN_OR_RETURN(auto post_attention, Norm("post_attention_layernorm", n_embd_));
    if (config_.sandwich) {
      layer_.attn_post_norm = std::move(post_attention);
      KVASIR_ASSIGN_OR_RETURN(layer_.ffn_norm, Norm("pre_feedforward_layernorm", n_embd_));
      KVASIR_ASSIGN_OR_RETURN(layer_.ffn_post_norm, Norm("post_feedforward_layernorm", n_embd_));
    } else {
      layer_.ffn_norm = std::move(post_attention);
    }
    if (config_.qk_norm) {
      KVASIR_ASSIGN_OR_RETURN(layer_.q_norm, Norm("self_attn.q_norm", config_.spec.head_dim));
      KVASIR_ASSIGN_OR_RETURN(layer_.k_norm, Norm("self_attn.k_norm", config_.spec.head_dim));
    }
    return Status::Ok();
  }

  const HfConfig& config_;
  std::string prefix_;
  WeightReader& reader_;
  int64_t n_embd_, n_ff_, n_q_, n_kv_;
  LayerWeights layer_;
};

// Beside a nested text model the output matrix is nested as well, in some files.
std::string OutputName(const WeightReader& reader) {
  const std::string nested = "language_model.lm_head.weight";
  return reader.Has(nested) ? nested : "lm_head.weight";
}

Result<Weights> LoadWeights(const HfConfig& config, const std::string& prefix,
                            WeightReader* reader) {
  const ModelSpec& spec = config.spec;
  Weights weights;
  KVASIR_ASSIGN_OR_RETURN(weights.token_embd, reader->Matrix(prefix + "embed_tokens.weight",
                                                             spec.n_vocab, spec.n_embd));
  weights.output = weights.token_embd;
  if (!config.tied) {
    KVASIR_ASSIGN_OR_RETURN(weights.output,
                            reader->Matrix(OutputName(*reader), spec.n_vocab, spec.n_embd));
  }
  KVASIR_ASSIGN_OR_RETURN(weights.output_norm,
                          reader->Vector(prefix + "norm.weight", spec.n_embd, config.norm_offset));
  for (int32_t i = 0; i < spec.n_layer; ++i) {
    LayerLoader loader(config, fmt::format("{}layers.{}.", prefix, i), reader);
    KVASIR_ASSIGN_OR_RETURN(LayerWeights layer, loader.Load());
    weights.layers.push_back(std::move(layer));
  }
  KVASIR_RETURN_IF_ERROR(reader->CheckAllUsed(prefix, spec.architecture));
  return weights;
}

// The object in a file that a folder may lack; nothing when it does.
Result<std::optional<nlohmann::ordered_json>> ReadOptionalJson(const std::string& path) {
  auto document = ReadJsonFile(path);
  if (document.ok()) return std::optional(std::move(*document));
  if (document.status().code() != StatusCode::kNotFound) return std::move(document).status();
  return std::optional<nlohmann::ordered_json>();
}

Result<SamplingHints> LoadSamplingHints(const std::string& folder) {
  const std::string path = folder + "/generation_config.json";
  KVASIR_ASSIGN_OR_RETURN(const auto document, ReadOptionalJson(path));
  SamplingHints hints;
  if (!document) return hints;
  const JsonFields fields(*document, path + ": ");
  for (const auto& [key, hint] :
       {std::pair("temperature", &hints.temperature), std::pair("top_p", &hints.top_p),
        std::pair("min_p", &hints.min_p), std::pair("repetition_penalty", &hints.repeat_penalty)}) {
    KVASIR_ASSIGN_OR_RETURN(const double value, fields.Number(key, -1.0));
    *hint = static_cast<float>(value);
  }
  KVASIR_ASSIGN_OR_RETURN(hints.top_k, fields.Int("top_k", -1, INT32_MAX, -1));
  return hints;
}

// `chat_template` of a JSON file: a string, or a list of named templates of which "default" counts.
Result<std::string> TemplateField(const std::string& path) {
  KVASIR_ASSIGN_OR_RETURN(const auto document, ReadOptionalJson(path));
  if (!document) return std::string();
  const JsonFields fields(*document, path + ": ");
  const nlohmann::ordered_json* value = fields.Find("chat_template");
  if (value == nullptr || !value->is_array()) return fields.String("chat_template", "");
  for (const auto& entry : *value) {
    if (!entry.is_object()) continue;
    const JsonFields named(entry, fields.Where("chat_template") + ".");
    KVASIR_ASSIGN_OR_RETURN(const std::string name, named.String("name"));
    if (name == "default") return named.String("template");
  }
  return std::string();
}

Result<std::string> LoadChatTemplate(const std::string& folder) {
  auto file = ReadFile(folder + "/chat_template.jinja");
  if (file.ok() || file.status().code() != StatusCode::kNotFound) return file;
  for (const char* name : {"/chat_template.json", "/tokenizer_config.json"}) {
    KVASIR_ASSIGN_OR_RETURN(std::string text, TemplateField(folder + name));
    if (!text.empty()) return text;
  }
  return std::string();
}

std::string FolderName(const std::string& folder) {
  const std::filesystem::path path = std::filesystem::path(folder).lexically_normal();
  return path.has_filename() ? path.filename().string() : path.parent_path().filename().string();
}

Status LoadTextSide(const std::string& folder, Model* model) {
  KVASIR_ASSIGN_OR_RETURN(model->tokenizer, TokenizerFromJson(folder));
  KVASIR_ASSIGN_OR_RETURN(model->chat_template, LoadChatTemplate(folder));
  KVASIR_ASSIGN_OR_RETURN(model->hints, LoadSamplingHints(folder));
  return Status::Ok();
}

}  // namespace

Result<std::shared_ptr<const Model>> LoadHfModel(const std::string& folder,
                                                 const LoadOptions& options) {
  const std::string config_path = folder + "/config.json";
  KVASIR_ASSIGN_OR_RETURN(const auto document, ReadJsonFile(config_path));
  KVASIR_ASSIGN_OR_RETURN(const HfConfig config,
                          ParseHfConfig(JsonFields(document, config_path + ": ")));
  KVASIR_ASSIGN_OR_RETURN(const Safetensors file, Safetensors::OpenFolder(folder));
  auto model = std::make_shared<Model>();
  model->spec = config.spec;
  model->spec.name = FolderName(folder);
  model->path = folder;
  model->file_kind = "hf";
  WeightReader reader(file, folder);
  KVASIR_ASSIGN_OR_RETURN(const std::string prefix, reader.TextPrefix());
  KVASIR_ASSIGN_OR_RETURN(model->weights, LoadWeights(config, prefix, &reader));
  model->n_parameters = reader.n_elements();
  model->weight_bytes = reader.n_bytes();
  model->files.assign(file.files().begin(), file.files().end());
  KVASIR_RETURN_IF_ERROR(LoadTextSide(folder, model.get()));
  if (options.progress) options.progress(model->weight_bytes, model->weight_bytes);
  return std::shared_ptr<const Model>(std::move(model));
}

}  // namespace kvasir
