// Chooses the next token from logits: penalties, then top-k, top-p, min-p and temperature, in
// llama.cpp's order. The generator and its mapping to a draw are our own and fixed, so a seed gives
// the same draws with any standard library.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "kvasir/model/tokenizer.h"
#include "kvasir/status.h"

namespace kvasir {

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

// Errors: kInvalidArgument names the option, what was expected and what was found; a bias for a
// token outside [0, n_vocab) is one.
Status CheckSamplerOptions(const SamplerOptions& options, int32_t n_vocab);

struct TokenLogprob {
  TokenId id;
  float logprob;  // natural log, of the model's own distribution
};

// One per sequence; not thread-safe.
class Sampler {
 public:
  // `options` have passed CheckSamplerOptions for `n_vocab`.
  Sampler(SamplerOptions options, int32_t n_vocab);

  // Tells the penalties of a token that is now part of the sequence: prompt and generated alike.
  void Accept(TokenId id);
  // Chooses from `logits` (n_vocab), which stay as they are. Does not accept the choice.
  // Errors: kInvalidArgument when the length is wrong or a logit is NaN or +inf (-inf bars a
  // token), naming the token, or when every token is barred.
  Result<TokenId> Sample(std::span<const float> logits);
  // Forgets the accepted tokens and starts the random sequence anew.
  void Reset();

  const SamplerOptions& options() const { return options_; }

 private:
  struct Candidate {
    TokenId id;
    float logit;
  };

  bool HasPenalties() const;
  void Penalize();
  Status CopyChecked(std::span<const float> logits);
  TokenId Greedy() const;
  void CollectTopK();
  void CollectAll();
  // `max` is the largest logit.
  void KeepTopP(float max);
  void KeepMinP(float max);
  TokenId Draw(float max);

  SamplerOptions options_;
  int32_t n_vocab_;
  std::mt19937_64 random_;
  std::vector<TokenId> history_;  // ring of the last repeat_last_n, or all
  size_t oldest_ = 0;
  std::unordered_map<TokenId, int32_t> counts_;  // over history_
  std::vector<float> logits_;                    // (n_vocab) biased and penalised
  std::vector<Candidate> candidates_;
  std::vector<double> weights_;  // of the candidates, not divided by their sum
};

// The `n` most likely tokens under `logits`, most likely first, equals by id; and of `chosen` when
// it is not negative, as the first element of a pair. Stable log-softmax over all logits.
struct Logprobs {
  TokenLogprob chosen;
  std::vector<TokenLogprob> top;
};
Logprobs ComputeLogprobs(std::span<const float> logits, TokenId chosen, int32_t n);

}  // namespace kvasir
