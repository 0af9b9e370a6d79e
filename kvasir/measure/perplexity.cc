#include "kvasir/measure/perplexity.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "kvasir/measure/statistics.h"
#include "kvasir/model/sampler.h"

namespace kvasir {
namespace {

int64_t Step(const PerplexityOptions& options) {
  return options.stride > 0 ? options.stride : options.n_ctx;
}

// The first position of a chunk whose logits are judged: they predict the token after it.
int64_t FirstJudged(const PerplexityOptions& options) {
  if (options.stride == 0) return options.n_ctx / 2;
  return std::max<int64_t>(0, options.n_ctx - options.stride - 1);
}

Status Check(int64_t n_token, const PerplexityOptions& options) {
  if (options.n_ctx < 2) {
    return Status::InvalidArgument(
        fmt::format("perplexity: expected a context of at least 2, found {}", options.n_ctx));
  }
  if (options.stride < 0 || options.stride >= options.n_ctx) {
    return Status::InvalidArgument(fmt::format(
        "perplexity: expected a stride from 0 to {}, found {}", options.n_ctx - 1, options.stride));
  }
  if (n_token < options.n_ctx) {
    return Status::InvalidArgument(
        fmt::format("perplexity: the text has {} tokens, a context takes {}; give a longer text or "
                    "a smaller -c",
                    n_token, options.n_ctx));
  }
  return Status::Ok();
}

void Estimate(const std::vector<double>& nll, PerplexityResult* result) {
  const Summary s = Summarize(nll);
  result->n_predicted = static_cast<int64_t>(nll.size());
  result->mean_nll = s.mean;
  result->perplexity = std::exp(s.mean);
  result->standard_error =
      result->perplexity * s.stddev / std::sqrt(static_cast<double>(nll.size()));
}

}  // namespace

int64_t PerplexityChunks(int64_t n_token, const PerplexityOptions& options) {
  if (n_token < options.n_ctx) return 0;
  const int64_t chunks = (n_token - options.n_ctx) / Step(options) + 1;
  return options.max_chunks > 0 ? std::min(chunks, options.max_chunks) : chunks;
}

Result<PerplexityResult> MeasurePerplexity(Session& session, int32_t n_vocab,
                                           std::span<const TokenId> tokens,
                                           const PerplexityOptions& options) {
  const auto n_token = static_cast<int64_t>(tokens.size());
  KVASIR_RETURN_IF_ERROR(Check(n_token, options));
  PerplexityResult result;
  result.n_chunk = PerplexityChunks(n_token, options);
  const int64_t first_judged = FirstJudged(options);
  std::vector<double> nll;
  std::vector<TokenId> chunk;
  for (int64_t i = 0; i < result.n_chunk; ++i) {
    const auto text =
        tokens.subspan(static_cast<size_t>(i * Step(options)), static_cast<size_t>(options.n_ctx));
    chunk.assign(text.begin(), text.end());
    if (options.bos >= 0) chunk.front() = options.bos;
    KVASIR_RETURN_IF_ERROR(
        session.Logits(chunk, [&](int64_t first, int64_t n, const float* logits) {
          for (int64_t t = std::max(first, first_judged);
               t < std::min(first + n, options.n_ctx - 1); ++t) {
            const std::span row(logits + (t - first) * n_vocab, static_cast<size_t>(n_vocab));
            nll.push_back(-ComputeLogprobs(row, chunk[t + 1], 0).chosen.logprob);
          }
          return Status::Ok();
        }));
    Estimate(nll, &result);
    if (options.progress) options.progress(i + 1, result.n_chunk, result.perplexity);
  }
  return result;
}

}  // namespace kvasir
