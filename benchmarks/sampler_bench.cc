// Choosing a token from a vocabulary of 128k.
#include <benchmark/benchmark.h>

#include <random>
#include <vector>

#include "kvasir/model/sampler.h"

namespace kvasir {
namespace {

constexpr int32_t kVocab = 128256;

std::vector<float> Logits() {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0.0f, 3.0f);
  std::vector<float> logits(kVocab);
  for (float& logit : logits) logit = normal(random);
  return logits;
}

void Run(benchmark::State& state, const SamplerOptions& options) {
  const std::vector<float> logits = Logits();
  Sampler sampler(options, kVocab);
  for (auto _ : state) benchmark::DoNotOptimize(sampler.Sample(logits));
  state.SetBytesProcessed(state.iterations() * kVocab * int64_t{sizeof(float)});
}

void sampler_greedy(benchmark::State& state) { Run(state, {.temperature = 0}); }
void sampler_defaults(benchmark::State& state) { Run(state, {}); }
void sampler_top_k_1000(benchmark::State& state) { Run(state, {.top_k = 1000}); }
void sampler_without_top_k(benchmark::State& state) { Run(state, {.top_k = 0}); }
void sampler_logprobs_5(benchmark::State& state) {
  const std::vector<float> logits = Logits();
  for (auto _ : state) benchmark::DoNotOptimize(ComputeLogprobs(logits, 0, 5));
}

BENCHMARK(sampler_greedy);
BENCHMARK(sampler_defaults);
BENCHMARK(sampler_top_k_1000);
BENCHMARK(sampler_without_top_k);
BENCHMARK(sampler_logprobs_5);

}  // namespace
}  // namespace kvasir

BENCHMARK_MAIN();
