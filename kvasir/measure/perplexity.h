// How well a model predicts a text: the exponential of the mean negative log-likelihood.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "kvasir/engine.h"
#include "kvasir/status.h"

namespace kvasir {

struct PerplexityOptions {
  int64_t n_ctx = 512;  // tokens of a chunk; each chunk starts from an empty cache
  // 0: chunks follow each other and the second half of each is predicted, as llama.cpp does it.
  // Else chunks start `stride` apart and their last `stride` tokens are predicted.
  int64_t stride = 0;
  TokenId bos = -1;        // takes the place of each chunk's first token; -1 = none does
  int64_t max_chunks = 0;  // 0 = the whole text
  // Chunks done and in all, and the estimate so far. May be empty.
  std::function<void(int64_t done, int64_t total, double perplexity)> progress = {};
};

struct PerplexityResult {
  double perplexity = 0;
  double standard_error = 0;  // of the perplexity, from the spread of single tokens
  double mean_nll = 0;        // natural log
  int64_t n_predicted = 0;
  int64_t n_chunk = 0;
};

// Chunks that a text of `n_token` gives; a remainder shorter than a chunk is left out.
int64_t PerplexityChunks(int64_t n_token, const PerplexityOptions& options);

// `n_vocab` is the width of the session's logits.
// Errors: kInvalidArgument for n_ctx below 2, a stride outside [0, n_ctx), or a text shorter than
// one chunk (both numbers); those of Session::Logits.
Result<PerplexityResult> MeasurePerplexity(Session& session, int32_t n_vocab,
                                           std::span<const TokenId> tokens,
                                           const PerplexityOptions& options);

}  // namespace kvasir
