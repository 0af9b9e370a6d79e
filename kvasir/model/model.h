// A model in memory: hyper-parameters, weights and the text side, whichever kind of file it came
// from. Loaders (gguf_model.cc, hf_model.cc) fill it; the forward pass (forward.cc) reads it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kvasir/core/mapped_file.h"
#include "kvasir/kernels/tensor.h"
#include "kvasir/model/tokenizer.h"
#include "kvasir/status.h"

namespace kvasir {

enum class RopePairing {
  kAdjacent,  // (x0,x1), (x2,x3), ...: "NORM"; GGUF files of `llama`
  kHalves,    // (x0,x[d/2]), ...: "NEOX"; all others, and every HF folder
};

enum class RopeScaling { kNone, kLinear, kYarn, kLlama3, kLongRope };

// RoPE of one layer class. All fields are resolved by the loader; the forward pass turns them into
// one inverse frequency per pair and one magnitude factor.
struct RopeSpec {
  RopePairing pairing = RopePairing::kHalves;
  int32_t n_rot = 0;  // leading channels of a head that rotate, <= head_dim
  double freq_base = 10000.0;
  RopeScaling scaling = RopeScaling::kNone;
  double factor = 1.0;                       // linear, yarn, llama3: context extension factor
  int32_t original_context = 0;              // yarn, llama3, longrope
  double attn_factor = 0.0;                  // yarn, longrope magnitude; 0 = derive from `factor`
  double beta_fast = 32.0, beta_slow = 1.0;  // yarn
  double low_freq_factor = 1.0, high_freq_factor = 4.0;  // llama3
  std::vector<float> freq_divisors;  // (n_rot/2) GGUF rope_freqs.weight: freq /= divisor
  std::vector<float> long_factors, short_factors;  // (n_rot/2) longrope; long is used when the
                                                   // session's context exceeds original_context
};

enum class Activation { kSilu, kGeluTanh };

// Hyper-parameters, resolved: no field needs the file any more.
struct ModelSpec {
  std::string architecture;  // llama, qwen2, qwen3, gemma2, gemma3, phi3
  std::string name;          // general.name or the folder's name
  int32_t n_layer = 0;
  int32_t n_embd = 0;
  int32_t n_head = 0;
  int32_t n_kv_head = 0;
  int32_t head_dim = 0;  // of K and V
  int32_t n_ff = 0;
  int32_t n_vocab = 0;  // rows of the output matrix
  int32_t n_ctx_train = 0;
  float norm_eps = 1e-5f;
  Activation activation = Activation::kSilu;
  float embedding_scale = 1.0f;  // gemma: sqrt(n_embd)
  float attn_scale = 0.0f;       // multiplies q.k; usually 1/sqrt(head_dim)
  float attn_softcap = 0.0f;     // gemma2: cap * tanh(logit / cap); 0 = none
  float final_softcap = 0.0f;
  // Per layer: tokens a query may look back, itself included (a query at p sees positions
  // > p - window); 0 = all. gemma's local layers, phi3, Mistral.
  std::vector<int32_t> window;
  RopeSpec rope;                      // layers with the global base
  RopeSpec rope_local;                // gemma3's local layers
  std::vector<bool> uses_local_rope;  // per layer

  // Bytes of K and V that one token takes over all layers at `bits` per element.
  double KvBytesPerToken(double bits) const {
    return 2.0 * n_layer * n_kv_head * head_dim * bits / 8.0;
  }
};

// Vectors are owned f32; matrices borrow from `Model::files`. Absent parts are empty.
struct LayerWeights {
  std::vector<float> attn_norm;       // (n_embd)
  Tensor wq, wk, wv, wo;              // (n_head*head_dim, n_embd), (n_kv_head*head_dim, n_embd) x2,
                                      // (n_embd, n_head*head_dim)
  std::vector<float> bq, bk, bv, bo;  // qwen2; some llama exports
  std::vector<float> q_norm, k_norm;  // (head_dim), before RoPE: qwen3, gemma3
  std::vector<float> attn_post_norm;  // (n_embd), on the block's output before the residual: gemma
  std::vector<float> ffn_norm;        // (n_embd)
  Tensor w_gate, w_up, w_down;        // (n_ff, n_embd) x2, (n_embd, n_ff)
  std::vector<float> b_gate, b_up, b_down;
  std::vector<float> ffn_post_norm;  // (n_embd): gemma
};

struct Weights {
  Tensor token_embd;               // (n_vocab, n_embd)
  Tensor output;                   // (n_vocab, n_embd); the same view as token_embd when tied
  std::vector<float> output_norm;  // (n_embd); gemma's +1 already applied, as in all norms here
  std::vector<LayerWeights> layers;
};

// Defaults that a model's own files suggest (generation_config.json). Negative = not given.
struct SamplingHints {
  float temperature = -1, top_p = -1, min_p = -1, repeat_penalty = -1;
  int32_t top_k = -1;
};

// Immutable after loading; safe to share between threads and sessions.
struct Model {
  ModelSpec spec;
  Weights weights;
  std::unique_ptr<Tokenizer> tokenizer;
  std::string chat_template;  // Jinja source; empty when the model has none
  SamplingHints hints;
  std::string path;
  std::string file_kind;  // "gguf v3", "hf"
  uint64_t n_parameters = 0;
  uint64_t weight_bytes = 0;                       // of the mapped tensors
  std::vector<std::shared_ptr<const MappedFile>> files;  // what the views borrow from
};

struct LoadOptions {
  // Called with bytes done and bytes in all; may be empty.
  std::function<void(uint64_t done, uint64_t total)> progress;
};

// `path` is a .gguf file (the first of a split) or an HF folder.
// Errors: kUnsupported names the architecture, tensor type or key; kCorruption names the tensor or
// byte; kNotFound names the missing tensor, key or file.
Result<std::shared_ptr<const Model>> LoadModel(const std::string& path, const LoadOptions& options);
Result<std::shared_ptr<const Model>> LoadGgufModel(const std::string& path,
                                                   const LoadOptions& options);
Result<std::shared_ptr<const Model>> LoadHfModel(const std::string& path,
                                                 const LoadOptions& options);

}  // namespace kvasir
