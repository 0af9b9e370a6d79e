#include "kvasir/model/gguf_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <optional>
#include <set>
#include <system_error>
#include <thread>
#include <utility>

#include "kvasir/kernels/matmul.h"
#include "kvasir/model/gguf_layout.h"
#include "kvasir/model/gguf_spec.h"
#include "kvasir/model/gguf_vocabulary.h"

namespace kvasir {
namespace {

// Precomputed tables that some converters leave in; the forward pass computes its own.
bool IsIgnored(std::string_view name) { return name.ends_with("attn_rot_embd.weight"); }

std::string_view WhyUnexpected(std::string_view name) {
  if (name.find("_exps") != name.npos || name.find("_shexp") != name.npos ||
      name.find("ffn_gate_inp") != name.npos) {
    return "mixtures of experts are not supported";
  }
  if (name.find("ssm_") != name.npos) return "state-space layers are not supported";
  return "is not a part of this architecture";
}

class WeightBinder {
 public:
  WeightBinder(const GgufFile& file, ModelSpec* spec, Weights* weights)
      : file_(file), spec_(*spec), weights_(*weights) {}

  Status Bind() {
    KVASIR_RETURN_IF_ERROR(BindGlobals());
    for (int32_t layer = 0; layer < spec_.n_layer; ++layer) {
      weights_.layers.emplace_back();
      KVASIR_RETURN_IF_ERROR(BindLayer(layer));
    }
    return RefuseTheRest();
  }

 private:
  Status BindGlobals() {
    KVASIR_RETURN_IF_ERROR(
        Matrix("token_embd.weight", spec_.n_vocab, spec_.n_embd, true, &weights_.token_embd));
    KVASIR_RETURN_IF_ERROR(
        Matrix("output.weight", spec_.n_vocab, spec_.n_embd, false, &weights_.output));
    if (weights_.output.empty()) weights_.output = weights_.token_embd;
    KVASIR_RETURN_IF_ERROR(Vector("output_norm.weight", spec_.n_embd, true, &weights_.output_norm));
    return BindRopeFactors();
  }

  Status BindRopeFactors() {
    RopeSpec& rope = spec_.rope;
    const int64_t n_pair = rope.n_rot / 2;
    KVASIR_RETURN_IF_ERROR(Divisors("rope_freqs.weight", n_pair, false, &rope.freq_divisors));
    if (rope.scaling != RopeScaling::kLongRope) return Status::Ok();
    KVASIR_RETURN_IF_ERROR(Divisors("rope_factors_long.weight", n_pair, true, &rope.long_factors));
    return Divisors("rope_factors_short.weight", n_pair, true, &rope.short_factors);
  }

  Status Divisors(std::string_view name, int64_t n, bool required, std::vector<float>* out) {
    KVASIR_RETURN_IF_ERROR(Vector(name, n, required, out));
    for (size_t i = 0; i < out->size(); ++i) {
      if ((*out)[i] > 0.0f && std::isfinite((*out)[i])) continue;
      return Status::Corruption(
          fmt::format("{}: tensor '{}': element {}: expected more than 0, found {}", file_.path(),
                      name, i, (*out)[i]));
    }
    return Status::Ok();
  }

  Status BindLayer(int32_t index) {
    LayerWeights& layer = weights_.layers.back();
    for (const GgufLayerSlot& slot : GgufLayerSlots(spec_, index)) {
      if (slot.vector != nullptr) {
        KVASIR_RETURN_IF_ERROR(Vector(slot.name, slot.cols, slot.required, &(layer.*slot.vector)));
        continue;
      }
      Tensor fused;
      Tensor* matrix = slot.matrix != nullptr ? &(layer.*slot.matrix) : &fused;
      KVASIR_RETURN_IF_ERROR(Matrix(slot.name, slot.rows, slot.cols, slot.required, matrix));
      if (slot.fusion == GgufFusion::kQkv) SplitQkv(fused, &layer);
      if (slot.fusion == GgufFusion::kGateUp) SplitGateUp(fused, &layer);
    }
    return Status::Ok();
  }

  void SplitQkv(const Tensor& fused, LayerWeights* layer) const {
    const int64_t q = int64_t{spec_.n_head} * spec_.head_dim;
    const int64_t kv = int64_t{spec_.n_kv_head} * spec_.head_dim;
    layer->wq = fused.Rows(0, q);
    layer->wk = fused.Rows(q, kv);
    layer->wv = fused.Rows(q + kv, kv);
  }

  void SplitGateUp(const Tensor& fused, LayerWeights* layer) const {
    layer->w_gate = fused.Rows(0, spec_.n_ff);
    layer->w_up = fused.Rows(spec_.n_ff, spec_.n_ff);
  }

  // Null without an error when the tensor is absent and not required.
  Result<const GgufTensor*> Find(std::string_view name, int64_t rows, int64_t cols, bool required) {
    const GgufTensor* tensor = file_.FindTensor(name);
    if (tensor == nullptr) {
      if (!required) return tensor;
      return Status::NotFound(fmt::format("{}: tensor '{}' is missing", file_.path(), name));
    }
    used_.insert(tensor);
    const auto wanted_rows = static_cast<uint64_t>(std::max<int64_t>(rows, 1));
    if (tensor->dims[0] != static_cast<uint64_t>(cols) || tensor->dims[1] != wanted_rows ||
        tensor->dims[2] != 1 || tensor->dims[3] != 1) {
      return Status::Corruption(
          fmt::format("{}: tensor '{}': expected shape {}, found {}", file_.path(), name,
                      rows == 0 ? fmt::format("[{}]", cols) : fmt::format("[{}, {}]", cols, rows),
                      tensor->ShapeText()));
    }
    return tensor;
  }

  Status Matrix(std::string_view name, int64_t rows, int64_t cols, bool required, Tensor* out) {
    KVASIR_ASSIGN_OR_RETURN(const GgufTensor* tensor, Find(name, rows, cols, required));
    if (tensor != nullptr) *out = tensor->Matrix();
    return Status::Ok();
  }

  Status Vector(std::string_view name, int64_t n, bool required, std::vector<float>* out) {
    KVASIR_ASSIGN_OR_RETURN(const GgufTensor* tensor, Find(name, 0, n, required));
    if (tensor == nullptr) return Status::Ok();
    if (InfoOf(tensor->type).block_elements != 1) {
      return Status::Unsupported(
          fmt::format("{}: tensor '{}': a vector of type {}; f32, f16 and "
                      "bf16 are supported",
                      file_.path(), name, InfoOf(tensor->type).name));
    }
    out->resize(static_cast<size_t>(n));
    DequantizeRow(tensor->type, tensor->data.data(), out->data(), n);
    return Status::Ok();
  }

  Status RefuseTheRest() const {
    for (const GgufTensor& tensor : file_.tensors()) {
      if (used_.contains(&tensor) || IsIgnored(tensor.name)) continue;
      return Status::Unsupported(fmt::format("{}: tensor '{}': {}", file_.path(),
                                             Printable(tensor.name), WhyUnexpected(tensor.name)));
    }
    return Status::Ok();
  }

  const GgufFile& file_;
  ModelSpec& spec_;
  Weights& weights_;
  std::set<const GgufTensor*> used_;
};

Status ReadHints(const GgufFile& file, SamplingHints* hints) {
  const std::pair<std::string_view, float*> kFloats[] = {
      {"general.sampling.temp", &hints->temperature},
      {"general.sampling.top_p", &hints->top_p},
      {"general.sampling.min_p", &hints->min_p},
      {"general.sampling.penalty_repeat", &hints->repeat_penalty}};
  for (const auto& [key, hint] : kFloats) {
    KVASIR_ASSIGN_OR_RETURN(*hint, file.GetF32(key, *hint));
  }
  KVASIR_ASSIGN_OR_RETURN(hints->top_k, file.GetI32("general.sampling.top_k", hints->top_k));
  return Status::Ok();
}

Status AddText(const GgufFile& file, Model* model) {
  KVASIR_ASSIGN_OR_RETURN(model->tokenizer, TokenizerFromGguf(file));
  if (model->tokenizer->n_vocab() > model->spec.n_vocab) {
    return Status::Corruption(
        fmt::format("{}: key 'tokenizer.ggml.tokens' has {} tokens, but the "
                    "model has {} rows of logits",
                    file.path(), model->tokenizer->n_vocab(), model->spec.n_vocab));
  }
  KVASIR_ASSIGN_OR_RETURN(model->chat_template, file.GetString("tokenizer.chat_template", ""));
  return ReadHints(file, &model->hints);
}

// Brings a file's pages in, piece by piece, on a thread of its own while the text side is built and
// then on the caller's too: of a cached file the system only enters the pages, which takes two
// threads half as long as one.
class PageToucher {
 public:
  explicit PageToucher(const GgufFile& file) {
    constexpr size_t kPiece = size_t{8} << 20;
    for (const auto& mapped : file.files()) {
      const auto bytes = mapped->bytes();
      for (size_t begin = 0; begin < bytes.size(); begin += kPiece) {
        pieces_.push_back(bytes.subspan(begin, std::min(kPiece, bytes.size() - begin)));
      }
    }
    try {
      helper_ = std::jthread([this](const std::stop_token& stop) {
        while (!stop.stop_requested() && TouchNext() > 0) {
        }
      });
    } catch (const std::system_error&) {  // the caller's thread will do
    }
  }

  // Touches what is left, reporting how far it is.
  void Finish(uint64_t total, const std::function<void(uint64_t, uint64_t)>& progress) {
    while (TouchNext() > 0) progress(done_.load(), total);
    if (helper_.joinable()) helper_.join();
    progress(done_.load(), total);
  }

 private:
  // Bytes of the next piece, 0 behind the last.
  size_t TouchNext() {
    constexpr size_t kPage = 4096;
    const size_t i = next_.fetch_add(1);
    if (i >= pieces_.size()) return 0;
    const std::span<const std::byte> piece = pieces_[i];
    for (size_t at = 0; at < piece.size(); at += kPage) {
      static_cast<void>(*const_cast<const volatile std::byte*>(&piece[at]));
    }
    done_ += piece.size();
    return piece.size();
  }

  std::vector<std::span<const std::byte>> pieces_;
  std::atomic<size_t> next_{0};
  std::atomic<uint64_t> done_{0};
  std::jthread helper_;  // last: it uses what is above
};

}  // namespace

Result<std::shared_ptr<const Model>> BuildGgufModel(const GgufFile& file) {
  auto model = std::make_shared<Model>();
  model->path = file.path();
  model->file_kind = fmt::format("gguf v{}", file.version());
  model->files.assign(file.files().begin(), file.files().end());
  KVASIR_ASSIGN_OR_RETURN(model->spec, ReadGgufSpec(file));
  KVASIR_RETURN_IF_ERROR(WeightBinder(file, &model->spec, &model->weights).Bind());
  for (const GgufTensor& tensor : file.tensors()) {
    model->n_parameters += tensor.n_elements();
    model->weight_bytes += tensor.data.size();
  }
  KVASIR_RETURN_IF_ERROR(AddText(file, model.get()));
  return std::shared_ptr<const Model>(std::move(model));
}

Result<std::shared_ptr<const Model>> LoadGgufModel(const std::string& path,
                                                   const LoadOptions& options) {
  KVASIR_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::Open(path));
  // So that the first token does not wait for the disk in silence.
  std::optional<PageToucher> toucher;
  if (options.progress) toucher.emplace(file);
  KVASIR_ASSIGN_OR_RETURN(auto model, BuildGgufModel(file));
  if (toucher) toucher->Finish(file.file_bytes(), options.progress);
  return model;
}

}  // namespace kvasir
