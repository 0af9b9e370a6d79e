// How the next token is chosen, and what is told about it.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace kvasir {

using TokenId = int32_t;

// Defaults are llama.cpp's.
struct SamplerOptions {
  float temperature = 0.80f;  // <= 0: the most likely token (the lowest id among equals)
  int32_t top_k = 40;         // <= 0: all
  float top_p = 0.95f;        // smallest set of at least this probability; >= 1: all
  float min_p = 0.05f;  // drops tokens below this share of the best one's probability; 0: none
  float repeat_penalty = 1.0f;     // positive logits are divided, others multiplied (CTRL)
  float presence_penalty = 0.0f;   // subtracted once from tokens seen
  float frequency_penalty = 0.0f;  // subtracted once a time seen
  int32_t repeat_last_n = 64;      // tokens the penalties look back; 0: none, -1: all
  uint64_t seed = 0;
  std::vector<std::pair<TokenId, float>> logit_bias = {};  // added before everything else
};

struct TokenLogprob {
  TokenId id;
  float logprob;  // natural log, of the model's own distribution
};

}  // namespace kvasir
