// Which tensors a GGUF file of a given spec holds, and where each goes in LayerWeights. The loader
// checks files against this list and `synth` writes files from it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kvasir/model/model.h"

namespace kvasir {

// Tensors that hold several of LayerWeights' matrices, one behind the other by rows.
enum class GgufFusion {
  kNone,
  kQkv,     // attn_qkv: q, k, v
  kGateUp,  // ffn_up: gate, up
};

struct GgufLayerSlot {
  std::string name;  // "blk.3.attn_q.weight"
  int64_t rows = 0;  // 0 for a vector
  int64_t cols = 0;  // row length; the length of a vector
  bool required = true;
  GgufFusion fusion = GgufFusion::kNone;
  // Exactly one is set, or neither in a fused tensor.
  Tensor LayerWeights::*matrix = nullptr;
  std::vector<float> LayerWeights::*vector = nullptr;
};

// The tensors of one layer, in the order that converters write them. `spec.architecture` is one
// that IsKnownArchitecture accepts.
std::vector<GgufLayerSlot> GgufLayerSlots(const ModelSpec& spec, int32_t layer);

bool IsKnownArchitecture(std::string_view architecture);
inline constexpr std::string_view kKnownArchitectures = "llama, qwen2, qwen3, gemma2, gemma3, phi3";

}  // namespace kvasir
