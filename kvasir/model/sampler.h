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
#include "kvasir/sampling.h"
#include "kvasir/status.h"

namespace kvasir {

// Errors: kInvalidArgument names the option, what was expected and what was found; a bias for a
// token outside [0, n_vocab) is one.
Status CheckSamplerOptions(const SamplerOptions& options, int32_t n_vocab);

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
