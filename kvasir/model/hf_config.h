// config.json of an HF folder. Field names, defaults and meanings are those of transformers'
// configuration classes.
#pragma once

#include <string>

#include "kvasir/model/json_fields.h"
#include "kvasir/model/model.h"
#include "kvasir/status.h"

namespace kvasir {

struct HfConfig {
  ModelSpec spec;  // all but `name`
  // Which tensors the weights have.
  bool tied = false;  // output matrix = embeddings
  bool qkv_bias = false;
  bool o_bias = false;
  bool mlp_bias = false;
  bool qk_norm = false;   // q_norm and k_norm
  bool fused = false;     // qkv_proj and gate_up_proj
  bool sandwich = false;  // norms before and after both blocks: gemma
  float norm_offset = 0;  // added to every norm weight: gemma's 1
};

// `root` is the whole file; a nested `text_config` is followed.
// Errors: kUnsupported names the architecture, quantization_config, RoPE type or activation that
// this build does not do; kNotFound and kCorruption name the key.
Result<HfConfig> ParseHfConfig(const JsonFields& root);

// RoPE of one layer class.
//   text        the text model's fields, for values that old files keep outside
//   parameters  rope_scaling, rope_parameters or one entry of the latter; null = plain RoPE
//   freq_base   when `parameters` does not give rope_theta
Result<RopeSpec> ParseHfRope(const JsonFields& text, const JsonFields* parameters, double freq_base,
                             const ModelSpec& spec);

}  // namespace kvasir
