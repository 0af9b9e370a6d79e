#include "kvasir/model/synth.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <numbers>
#include <set>

#include "kvasir/core/random.h"
#include "kvasir/core/thread_team.h"
#include "kvasir/kernels/matmul.h"
#include "kvasir/model/gguf_layout.h"

namespace kvasir {
namespace {

constexpr float kLogitDeviation = 2.5f;

// Mean 0, deviation 1, bell-shaped: the sum of four 16-bit draws.
float NextNormal(SplitMix64& random) {
  const uint64_t z = random.Next();
  const auto sum = static_cast<int32_t>((z & 0xFFFF) + ((z >> 16) & 0xFFFF) + ((z >> 32) & 0xFFFF) +
                                        (z >> 48));
  constexpr float kDeviation = 65536.0f * 0.57735027f;  // sqrt(4 / 12)
  return static_cast<float>(sum - 2 * 65535) / kDeviation;
}

// The type that a row of `cols` can have.
TensorType FittingType(TensorType wanted, int64_t cols) {
  for (const TensorType type : {wanted, TensorType::kQ8_0}) {
    if (static_cast<size_t>(cols) % InfoOf(type).block_elements == 0) return type;
  }
  return TensorType::kF16;
}

// Llama 3.1's rule, as the divisors that its GGUF files store.
std::vector<float> Llama3Divisors(const RopeSpec& rope) {
  std::vector<float> divisors;
  for (int i = 0; i < rope.n_rot / 2; ++i) {
    const double wavelength = 2 * std::numbers::pi * std::pow(rope.freq_base, 2.0 * i / rope.n_rot);
    const double turns = rope.original_context / wavelength;
    const double blend = std::clamp(
        (turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor), 0.0, 1.0);
    divisors.push_back(static_cast<float>(1.0 / ((1.0 - blend) / rope.factor + blend)));
  }
  return divisors;
}

class Synth {
 public:
  Synth(const SynthShape& shape, const SynthOptions& options, std::vector<std::string>* notes)
      : shape_(shape),
        spec_(shape.spec),
        options_(options),
        notes_(notes),
        team_(std::make_shared<ThreadTeam>(options.n_thread)) {
    if (options.n_vocab != 0) spec_.n_vocab = options.n_vocab;
  }

  Result<GgufWriter> Make() {
    AddSpecKeys(spec_, &writer_);
    KVASIR_RETURN_IF_ERROR(AddSynthVocabulary(spec_.n_vocab, &writer_));
    AddGlobals();
    for (int32_t layer = 0; layer < spec_.n_layer; ++layer) {
      for (const GgufLayerSlot& slot : GgufLayerSlots(spec_, layer)) AddSlot(slot);
    }
    return std::move(writer_);
  }

 private:
  // A tied matrix gives both embeddings and logits. Where embeddings are scaled up by sqrt(n_embd),
  // it is kept small and the last norm makes up for it: otherwise the embedding of the last token
  // would rule the residual stream and every model would repeat it.
  void AddGlobals() {
    const float unit = 1.0f / std::sqrt(static_cast<float>(spec_.n_embd));
    const bool scaled = spec_.architecture.starts_with("gemma");
    const float size = scaled ? 0.1f : kLogitDeviation;
    AddMatrix("token_embd.weight", spec_.n_vocab, spec_.n_embd, size * unit);
    if (!shape_.tied) {
      AddMatrix("output.weight", spec_.n_vocab, spec_.n_embd, kLogitDeviation * unit);
    }
    AddVector("output_norm.weight", spec_.n_embd, shape_.tied ? kLogitDeviation / size : 1.0f,
              0.1f);
    if (spec_.rope.scaling != RopeScaling::kLlama3) return;
    const std::vector<float> divisors = Llama3Divisors(spec_.rope);
    writer_.AddTensor("rope_freqs.weight", TensorType::kF32, {divisors.size()},
                      std::as_bytes(std::span(divisors)));
  }

  void AddSlot(const GgufLayerSlot& slot) {
    if (!slot.required) return;
    if (slot.rows != 0) {
      AddMatrix(slot.name, slot.rows, slot.cols, 1.0f / std::sqrt(static_cast<float>(slot.cols)));
    } else {
      AddVector(slot.name, slot.cols, slot.name.ends_with(".bias") ? 0.0f : 1.0f, 0.1f);
    }
  }

  uint64_t Seed(std::string_view name) const {
    return SplitMix64(options_.seed ^ HashText(name)).Next();
  }

  void AddVector(const std::string& name, int64_t n, float mean, float deviation) {
    SplitMix64 random(Seed(name));
    std::vector<float> values(static_cast<size_t>(n));
    for (float& value : values) value = mean * (1.0f + deviation * NextNormal(random));
    if (mean == 0.0f) {
      for (float& value : values) value = deviation * NextNormal(random);
    }
    writer_.AddTensor(name, TensorType::kF32, {values.size()}, std::as_bytes(std::span(values)));
  }

  void AddMatrix(const std::string& name, int64_t rows, int64_t cols, float deviation) {
    const TensorType type = FittingType(options_.type, cols);
    if (type != options_.type) NoteFallback(type, cols);
    writer_.AddTensor(name, type, {static_cast<uint64_t>(cols), static_cast<uint64_t>(rows)},
                      [=, seed = Seed(name), team = team_](const GgufSink& sink) {
                        return StreamRows(type, rows, cols, deviation, seed, *team, sink);
                      });
  }

  void NoteFallback(TensorType type, int64_t cols) {
    if (notes_ == nullptr || !noted_.insert(cols).second) return;
    notes_->push_back(fmt::format("rows of {} are not a multiple of {}'s block of {}: stored as {}",
                                  cols, InfoOf(options_.type).name,
                                  InfoOf(options_.type).block_elements, InfoOf(type).name));
  }

  static Status StreamRows(TensorType type, int64_t rows, int64_t cols, float deviation,
                           uint64_t seed, ThreadTeam& team, const GgufSink& sink) {
    const size_t row_bytes = RowBytes(type, static_cast<size_t>(cols));
    const int64_t chunk = std::max<int64_t>(1, static_cast<int64_t>((size_t{1} << 22) / row_bytes));
    std::vector<std::byte> out(static_cast<size_t>(std::min(chunk, rows)) * row_bytes);
    std::vector<float> values(static_cast<size_t>(team.size()) * static_cast<size_t>(cols));
    for (int64_t begin = 0; begin < rows; begin += chunk) {
      const int64_t n = std::min(chunk, rows - begin);
      team.Run(n, [&](int64_t i, int thread) {
        float* row = values.data() + thread * cols;
        SplitMix64 random(seed + static_cast<uint64_t>(begin + i) * 0xD1342543DE82EF95u);
        for (int64_t c = 0; c < cols; ++c) row[c] = deviation * NextNormal(random);
        QuantizeRow(type, row, out.data() + static_cast<size_t>(i) * row_bytes, cols);
      });
      KVASIR_RETURN_IF_ERROR(sink(std::span(out).first(static_cast<size_t>(n) * row_bytes)));
    }
    return Status::Ok();
  }

  const SynthShape& shape_;
  ModelSpec spec_;
  const SynthOptions options_;
  std::vector<std::string>* notes_;
  std::shared_ptr<ThreadTeam> team_;  // shared with the sources, which outlive this object
  GgufWriter writer_;
  std::set<int64_t> noted_;
};

}  // namespace

void AddSpecKeys(const ModelSpec& spec, GgufWriter* writer) {
  const auto key = [&](std::string_view suffix) {
    return fmt::format("{}.{}", spec.architecture, suffix);
  };
  const auto add = [&](std::string_view suffix, int32_t value) {
    writer->AddU32(key(suffix), static_cast<uint32_t>(value));
  };
  writer->AddString("general.architecture", spec.architecture);
  writer->AddString("general.name", spec.name);
  add("block_count", spec.n_layer);
  add("context_length", spec.n_ctx_train);
  add("embedding_length", spec.n_embd);
  add("feed_forward_length", spec.n_ff);
  add("vocab_size", spec.n_vocab);
  add("attention.head_count", spec.n_head);
  add("attention.head_count_kv", spec.n_kv_head);
  add("attention.key_length", spec.head_dim);
  add("attention.value_length", spec.head_dim);
  writer->AddF32(key("attention.layer_norm_rms_epsilon"), spec.norm_eps);
  add("rope.dimension_count", spec.rope.n_rot);
  writer->AddF32(key("rope.freq_base"), static_cast<float>(spec.rope.freq_base));
  const int32_t window = *std::max_element(spec.window.begin(), spec.window.end());
  if (window != 0 || spec.architecture == "phi3") add("attention.sliding_window", window);
  if (spec.attn_softcap != 0) writer->AddF32(key("attn_logit_softcapping"), spec.attn_softcap);
  if (spec.final_softcap != 0) writer->AddF32(key("final_logit_softcapping"), spec.final_softcap);
}

Result<GgufWriter> MakeSynthModel(const SynthShape& shape, const SynthOptions& options,
                                  std::vector<std::string>* notes) {
  return Synth(shape, options, notes).Make();
}

}  // namespace kvasir
