// Models of random weights in the shapes of published ones: for speed measurements, tests and
// fuzzing seeds, where no trained weights are needed.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kvasir/model/gguf_writer.h"
#include "kvasir/model/model.h"
#include "kvasir/status.h"

namespace kvasir {

struct SynthShape {
  ModelSpec spec;  // `name` is the shape's; attn_scale and the like are left to the loader
  bool tied = true;
};

// "llama-3.2-1b", ..., "tiny-llama", ...
std::vector<std::string> SynthShapeNames();
// Errors: kNotFound lists the names.
Result<SynthShape> FindSynthShape(std::string_view name);

struct SynthOptions {
  TensorType type = TensorType::kF32;  // of matrices; vectors are f32
  int32_t n_vocab = 0;                 // 0 = the shape's
  uint64_t seed = 1;
  int n_thread = 0;  // 0 = all CPUs; the bytes do not depend on it
};

// A file of the shape, whose weights are made while it is written. Activations keep their size
// through the depth and logits have a standard deviation of about 2.5, so that sampling is neither
// uniform nor stuck. Tensors whose row is not a multiple of `type`'s block become q8_0 or f16; one
// line for each such shape goes to `notes` (may be null).
// Errors: kInvalidArgument names a vocabulary too small for the bytes and the special tokens.
Result<GgufWriter> MakeSynthModel(const SynthShape& shape, const SynthOptions& options,
                                  std::vector<std::string>* notes);

// Adds tokenizer.* keys: byte-level BPE of the 256 bytes, a few merges, control tokens in ChatML's
// manner and filler words up to `n_vocab`. Errors as MakeSynthModel.
Status AddSynthVocabulary(int32_t n_vocab, GgufWriter* writer);

// Adds general.* and architecture keys from which ReadGgufSpec makes the same spec again.
void AddSpecKeys(const ModelSpec& spec, GgufWriter* writer);

}  // namespace kvasir
