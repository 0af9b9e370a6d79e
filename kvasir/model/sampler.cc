#include "kvasir/model/sampler.h"

#include <fmt/core.h>

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>

namespace kvasir {
namespace {

constexpr float kMinusInf = -std::numeric_limits<float>::infinity();

Status BadOption(std::string_view name, std::string_view expected, double found) {
  return Status::InvalidArgument(fmt::format("{}: expected {}, found {}", name, expected, found));
}

// 53 random bits as a number in [0, 1): the mapping is ours, since the standard's distributions
// differ between libraries.
double ToUniform(uint64_t bits) { return static_cast<double>(bits >> 11) * 0x1.0p-53; }

// Ties go to the lower id.
struct MoreLikely {
  template <typename T>
  bool operator()(const T& a, const T& b) const {
    return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
  }
};

}  // namespace

Status CheckSamplerOptions(const SamplerOptions& options, int32_t n_vocab) {
  if (!std::isfinite(options.temperature)) {
    return BadOption("temperature", "a finite number", options.temperature);
  }
  if (!(options.top_p >= 0)) return BadOption("top_p", "a number of at least 0", options.top_p);
  if (!(options.min_p >= 0 && options.min_p <= 1)) {
    return BadOption("min_p", "a number from 0 to 1", options.min_p);
  }
  if (!(options.repeat_penalty > 0 && std::isfinite(options.repeat_penalty))) {
    return BadOption("repeat_penalty", "a number above 0", options.repeat_penalty);
  }
  if (!std::isfinite(options.presence_penalty)) {
    return BadOption("presence_penalty", "a finite number", options.presence_penalty);
  }
  if (!std::isfinite(options.frequency_penalty)) {
    return BadOption("frequency_penalty", "a finite number", options.frequency_penalty);
  }
  if (options.repeat_last_n < -1) {
    return BadOption("repeat_last_n", "-1 or more", options.repeat_last_n);
  }
  for (const auto& [id, bias] : options.logit_bias) {
    if (id < 0 || id >= n_vocab) {
      return BadOption("logit_bias", fmt::format("a token from 0 to {}", n_vocab - 1), id);
    }
    if (std::isnan(bias) || bias == std::numeric_limits<float>::infinity()) {
      return BadOption(fmt::format("logit_bias of token {}", id), "a finite number or -inf", bias);
    }
  }
  return Status::Ok();
}

Sampler::Sampler(SamplerOptions options, int32_t n_vocab)
    : options_(std::move(options)), n_vocab_(n_vocab), random_(options_.seed) {
  assert(CheckSamplerOptions(options_, n_vocab_).ok());
}

bool Sampler::HasPenalties() const {
  return options_.repeat_last_n != 0 &&
         (options_.repeat_penalty != 1.0f || options_.presence_penalty != 0.0f ||
          options_.frequency_penalty != 0.0f);
}

void Sampler::Accept(TokenId id) {
  if (!HasPenalties()) return;
  ++counts_[id];
  const bool full =
      options_.repeat_last_n > 0 && history_.size() == static_cast<size_t>(options_.repeat_last_n);
  if (!full) {
    history_.push_back(id);
    return;
  }
  const auto dropped = counts_.find(history_[oldest_]);
  if (--dropped->second == 0) counts_.erase(dropped);
  history_[oldest_] = id;
  oldest_ = (oldest_ + 1) % history_.size();
}

void Sampler::Reset() {
  random_.seed(options_.seed);
  history_.clear();
  counts_.clear();
  oldest_ = 0;
}

Status Sampler::CopyChecked(std::span<const float> logits) {
  if (logits.size() != static_cast<size_t>(n_vocab_)) {
    return Status::InvalidArgument(
        fmt::format("logits: expected {} values, found {}", n_vocab_, logits.size()));
  }
  for (size_t id = 0; id < logits.size(); ++id) {
    // False for NaN and for +inf.
    if (!(logits[id] <= std::numeric_limits<float>::max())) {
      return Status::InvalidArgument(fmt::format(
          "logit of token {}: expected a finite number or -inf, found {}", id, logits[id]));
    }
  }
  logits_.assign(logits.begin(), logits.end());
  for (const auto& [id, bias] : options_.logit_bias) logits_[id] += bias;
  return Status::Ok();
}

void Sampler::Penalize() {
  for (const auto& [id, count] : counts_) {
    if (id < 0 || id >= n_vocab_) continue;
    float& logit = logits_[id];
    logit = logit > 0 ? logit / options_.repeat_penalty : logit * options_.repeat_penalty;
    logit -= static_cast<float>(count) * options_.frequency_penalty + options_.presence_penalty;
  }
}

TokenId Sampler::Greedy() const {
  return static_cast<TokenId>(std::max_element(logits_.begin(), logits_.end()) - logits_.begin());
}

void Sampler::CollectTopK() {
  const auto k = static_cast<size_t>(options_.top_k);
  // A heap of the best k, its worst on top: most of a large vocabulary fails one comparison.
  for (TokenId id = 0; id < n_vocab_; ++id) {
    const Candidate candidate{id, logits_[id]};
    if (candidate.logit == kMinusInf) continue;
    if (candidates_.size() < k) {
      candidates_.push_back(candidate);
      std::push_heap(candidates_.begin(), candidates_.end(), MoreLikely{});
    } else if (candidate.logit > candidates_.front().logit) {
      std::pop_heap(candidates_.begin(), candidates_.end(), MoreLikely{});
      candidates_.back() = candidate;
      std::push_heap(candidates_.begin(), candidates_.end(), MoreLikely{});
    }
  }
  std::sort_heap(candidates_.begin(), candidates_.end(), MoreLikely{});
}

void Sampler::CollectAll() {
  for (TokenId id = 0; id < n_vocab_; ++id) {
    if (logits_[id] > kMinusInf) candidates_.push_back({id, logits_[id]});
  }
}

void Sampler::KeepTopP(float max) {
  double total = 0;
  for (const Candidate& candidate : candidates_) total += std::exp(double{candidate.logit} - max);
  // Sorts only as far as the sum needs, in growing runs: the rest of the vocabulary stays unsorted.
  double sum = 0;
  size_t n = 0, n_sorted = 0;
  while (n < candidates_.size() && (n == 0 || sum < options_.top_p * total)) {
    if (n == n_sorted) {
      n_sorted = std::min(candidates_.size(), std::max<size_t>(256, 4 * n));
      const auto begin = candidates_.begin() + static_cast<ptrdiff_t>(n);
      const auto end = candidates_.begin() + static_cast<ptrdiff_t>(n_sorted);
      if (end != candidates_.end()) {
        std::nth_element(begin, end, candidates_.end(), MoreLikely{});
      }
      std::sort(begin, end, MoreLikely{});
    }
    sum += std::exp(double{candidates_[n++].logit} - max);
  }
  candidates_.resize(n);
}

void Sampler::KeepMinP(float max) {
  const double floor = max + std::log(double{options_.min_p});
  std::erase_if(candidates_, [&](const Candidate& candidate) { return candidate.logit < floor; });
}

TokenId Sampler::Draw(float max) {
  double total = 0;
  weights_.clear();
  for (const Candidate& candidate : candidates_) {
    const double gap = double{candidate.logit} - max;
    weights_.push_back(std::exp(gap / options_.temperature));
    total += weights_.back();
  }
  const double point = ToUniform(random_()) * total;
  double sum = 0;
  for (size_t i = 0; i + 1 < candidates_.size(); ++i) {
    sum += weights_[i];
    if (point < sum) return candidates_[i].id;
  }
  return candidates_.back().id;
}

Result<TokenId> Sampler::Sample(std::span<const float> logits) {
  KVASIR_RETURN_IF_ERROR(CopyChecked(logits));
  Penalize();
  const TokenId best = Greedy();
  const float max = logits_[best];
  if (max == kMinusInf) {
    return Status::InvalidArgument("logits: expected a token that may be chosen, found all barred");
  }
  if (options_.temperature <= 0) return best;
  candidates_.clear();
  if (options_.top_k > 0 && options_.top_k < n_vocab_) {
    CollectTopK();
  } else {
    CollectAll();
  }
  if (options_.top_p < 1) KeepTopP(max);
  if (options_.min_p > 0) KeepMinP(max);
  return Draw(max);
}

Logprobs ComputeLogprobs(std::span<const float> logits, TokenId chosen, int32_t n) {
  assert(!logits.empty() && chosen >= 0 && static_cast<size_t>(chosen) < logits.size());
  const double max = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - max);
  const double log_sum = max + std::log(sum);
  const auto logprob = [&](TokenId id) -> TokenLogprob {
    return {id, static_cast<float>(logits[id] - log_sum)};
  };

  Logprobs result{logprob(chosen), {}};
  std::vector<TokenId> ids(logits.size());
  for (size_t id = 0; id < ids.size(); ++id) ids[id] = static_cast<TokenId>(id);
  const size_t n_top = std::min(ids.size(), static_cast<size_t>(std::max(n, 0)));
  std::partial_sort(
      ids.begin(), ids.begin() + static_cast<ptrdiff_t>(n_top), ids.end(),
      [&](TokenId a, TokenId b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; });
  for (size_t i = 0; i < n_top; ++i) result.top.push_back(logprob(ids[i]));
  return result;
}

}  // namespace kvasir
