#include "kvasir/model/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <set>

namespace kvasir {
namespace {

using ::testing::HasSubstr;

constexpr float kInf = std::numeric_limits<float>::infinity();

// Everything off, so that a test turns on what it is about.
SamplerOptions Plain() {
  return {.temperature = 1.0f, .top_k = 0, .top_p = 1.0f, .min_p = 0.0f, .seed = 7};
}

std::vector<float> RandomLogits(int32_t n, uint32_t seed, bool integers = false) {
  std::mt19937 random(seed);
  std::vector<float> logits(n);
  for (float& logit : logits) {
    logit = static_cast<float>(random() % 2000) / 200.0f - 5.0f;
    if (integers) logit = std::floor(logit);
  }
  return logits;
}

std::vector<double> Softmax(const std::vector<double>& logits) {
  const double max = *std::max_element(logits.begin(), logits.end());
  std::vector<double> p;
  double sum = 0;
  for (const double logit : logits) sum += p.emplace_back(std::exp(logit - max));
  for (double& x : p) x /= sum;
  return p;
}

// The chain as its definitions read, with a full sort at every step. Returns each token's
// probability of being drawn.
std::vector<double> Definition(std::span<const float> logits, const SamplerOptions& options) {
  std::vector<TokenId> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](TokenId a, TokenId b) { return logits[a] > logits[b]; });
  if (options.top_k > 0 && static_cast<size_t>(options.top_k) < order.size()) {
    order.resize(options.top_k);
  }
  const auto values = [&] {
    std::vector<double> kept;
    for (const TokenId id : order) kept.push_back(logits[id]);
    return kept;
  };
  std::vector<double> p = Softmax(values());
  if (options.top_p < 1) {
    size_t n = 0;
    for (double sum = 0; n < p.size() && (n == 0 || sum < options.top_p);) sum += p[n++];
    order.resize(n);
    p = Softmax(values());
  }
  std::vector<TokenId> kept;
  for (size_t i = 0; i < order.size(); ++i) {
    if (p[i] >= options.min_p * p[0]) kept.push_back(order[i]);
  }
  order = kept;
  std::vector<double> heated = values();
  for (double& x : heated) x /= options.temperature;
  p = Softmax(heated);
  std::vector<double> result(logits.size(), 0.0);
  for (size_t i = 0; i < order.size(); ++i) result[order[i]] = p[i];
  return result;
}

std::vector<int> Draws(const SamplerOptions& options, std::span<const float> logits, int n) {
  Sampler sampler(options, static_cast<int32_t>(logits.size()));
  std::vector<int> counts(logits.size());
  for (int i = 0; i < n; ++i) {
    const Result<TokenId> id = sampler.Sample(logits);
    EXPECT_TRUE(id.ok());
    ++counts[*id];
  }
  return counts;
}

// Pearson's statistic is below this with probability 1 - 1e-6 (Wilson and Hilferty's
// approximation).
double ChiSquareLimit(int degrees) {
  const double k = degrees, z = 4.75;
  return k * std::pow(1 - 2 / (9 * k) + z * std::sqrt(2 / (9 * k)), 3);
}

TEST(Sampler, TakesTheLowestIdOfTheLargestLogitsWhenGreedy) {
  SamplerOptions options = Plain();
  options.temperature = 0;
  const std::vector<float> logits = {-1, 3, 2, 3, -kInf};
  for (const float temperature : {0.0f, -1.0f}) {
    options.temperature = temperature;
    EXPECT_EQ(*Sampler(options, 5).Sample(logits), 1);
  }
}

TEST(Sampler, DrawsWhatTheDefinitionSays) {
  struct Case {
    int32_t top_k;
    float top_p, min_p, temperature;
  };
  const Case cases[] = {{0, 1, 0, 1},       {5, 1, 0, 1},         {0, 0.7f, 0, 1},
                        {0, 1, 0.2f, 1},    {0, 1, 0, 2.5f},      {40, 0.95f, 0.05f, 0.8f},
                        {8, 0.9f, 0.1f, 3}, {1, 1, 0, 1},         {0, 0, 0, 1},
                        {0, 1, 1, 1},       {1000, 0.5f, 0, 0.3f}};
  int seed = 0;
  for (const bool integers : {false, true}) {
    for (const Case& c : cases) {
      const std::vector<float> logits = RandomLogits(24, ++seed, integers);
      SamplerOptions options = Plain();
      options.top_k = c.top_k;
      options.top_p = c.top_p;
      options.min_p = c.min_p;
      options.temperature = c.temperature;
      const std::vector<double> p = Definition(logits, options);
      constexpr int kDraws = 40000;
      const std::vector<int> counts = Draws(options, logits, kDraws);
      double statistic = 0, rare_expected = 0;
      int rare_count = 0, degrees = -1;
      const auto add = [&](double expected, double found) {
        statistic += (found - expected) * (found - expected) / expected;
        ++degrees;
      };
      for (size_t id = 0; id < p.size(); ++id) {
        SCOPED_TRACE(testing::Message() << "seed " << seed << " token " << id);
        if (p[id] == 0) {
          EXPECT_EQ(counts[id], 0);
        } else if (p[id] * kDraws < 10) {
          rare_expected += p[id] * kDraws;
          rare_count += counts[id];
        } else {
          add(p[id] * kDraws, counts[id]);
        }
      }
      if (rare_expected >= 5) add(rare_expected, rare_count);
      if (degrees > 0) {
        EXPECT_LT(statistic, ChiSquareLimit(degrees)) << "case seed " << seed;
      }
    }
  }
}

TEST(Sampler, KeepsTheLowerIdsAmongEqualsAtTheEdgeOfTopK) {
  SamplerOptions options = Plain();
  options.top_k = 3;
  const std::vector<float> logits = {1, 2, 1, 1, 2, 1};
  const std::vector<int> counts = Draws(options, logits, 2000);
  std::set<int> drawn;
  for (int id = 0; id < 6; ++id) {
    if (counts[id] > 0) drawn.insert(id);
  }
  EXPECT_EQ(drawn, (std::set<int>{0, 1, 4}));
}

// Wide enough that top-p sorts in several runs.
TEST(Sampler, KeepsTheSmallestSetOfTopPInAWideVocabulary) {
  const std::vector<float> logits = RandomLogits(3000, 21);
  constexpr int kDraws = 500;
  for (const float top_p : {0.1f, 0.5f, 0.9f, 0.999f}) {
    SamplerOptions options = Plain();
    options.top_p = top_p;
    options.temperature = 1e6f;  // draws all of the set alike
    const std::vector<double> p = Definition(logits, options);
    const std::vector<int> counts = Draws(options, logits, kDraws);
    for (size_t id = 0; id < p.size(); ++id) {
      if (p[id] == 0) {
        EXPECT_EQ(counts[id], 0) << id;
      }
    }
    // The set is not too small either: its size shows in how often a draw repeats.
    const auto n_set = std::count_if(p.begin(), p.end(), [](double x) { return x > 0; });
    const auto n_drawn = std::count_if(counts.begin(), counts.end(), [](int n) { return n > 0; });
    const double expected = n_set * (1 - std::exp(-1.0 * kDraws / n_set));
    EXPECT_NEAR(n_drawn, expected, 5 * std::sqrt(expected) + 1);
  }
}

TEST(Sampler, RepeatsWithTheSameSeedAndDiffersWithAnother) {
  const std::vector<float> logits = RandomLogits(200, 3);
  SamplerOptions options = Plain();
  const auto run = [&](uint64_t seed) {
    options.seed = seed;
    Sampler sampler(options, 200);
    std::vector<TokenId> ids;
    for (int i = 0; i < 100; ++i) ids.push_back(*sampler.Sample(logits));
    return ids;
  };
  EXPECT_EQ(run(1), run(1));
  EXPECT_NE(run(1), run(2));
}

TEST(Sampler, StartsOverAfterReset) {
  const std::vector<float> logits = RandomLogits(50, 4);
  SamplerOptions options = Plain();
  options.frequency_penalty = 3;
  Sampler sampler(options, 50);
  std::vector<TokenId> runs[2];
  for (auto& ids : runs) {
    sampler.Reset();
    for (int i = 0; i < 50; ++i) {
      ids.push_back(*sampler.Sample(logits));
      sampler.Accept(ids.back());
    }
  }
  EXPECT_EQ(runs[0], runs[1]);
}

// mt19937_64 is fixed by the C++ standard: its 10000th value from the default seed is
// 9981545732273789042. With two equal logits the draw is the top bit of each value.
TEST(Sampler, MapsTheStandardGeneratorsBitsItself) {
  SamplerOptions options = Plain();
  options.seed = 5489;
  Sampler sampler(options, 2);
  const std::vector<float> logits = {0, 0};
  TokenId last = -1;
  for (int i = 0; i < 10000; ++i) last = *sampler.Sample(logits);
  EXPECT_EQ(last, static_cast<TokenId>(9981545732273789042ull >> 63));
}

TEST(Sampler, AppliesPenaltiesExactly) {
  // Greedy choices show the order of penalised logits: token 0 wins until its logit passes token 1.
  struct Case {
    float repeat, presence, frequency;
    int n_seen;
    float logit, expected;
  };
  const Case cases[] = {{2, 0, 0, 3, 4, 2},        {2, 0, 0, 3, -4, -8},
                        {1, 0.5f, 0, 3, 4, 3.5f},  {1, 0, 0.5f, 3, 4, 2.5f},
                        {2, 0.5f, 0.25f, 2, 4, 1}, {2, 1, 1, 0, 4, 4}};
  for (const Case& c : cases) {
    SamplerOptions options = Plain();
    options.temperature = 0;
    options.repeat_penalty = c.repeat;
    options.presence_penalty = c.presence;
    options.frequency_penalty = c.frequency;
    Sampler sampler(options, 2);
    for (int i = 0; i < c.n_seen; ++i) sampler.Accept(0);
    const float above = std::nextafter(c.expected, kInf), below = std::nextafter(c.expected, -kInf);
    EXPECT_EQ(*sampler.Sample(std::vector<float>{c.logit, below}), 0);
    EXPECT_EQ(*sampler.Sample(std::vector<float>{c.logit, above}), 1);
  }
}

TEST(Sampler, ForgetsTokensOlderThanTheWindow) {
  SamplerOptions options = Plain();
  options.temperature = 0;
  options.presence_penalty = 10;
  options.repeat_last_n = 2;
  const std::vector<float> logits = {5, 4, 3};
  Sampler sampler(options, 3);
  std::vector<TokenId> ids;
  for (int i = 0; i < 7; ++i) {
    ids.push_back(*sampler.Sample(logits));
    sampler.Accept(ids.back());
  }
  EXPECT_EQ(ids, (std::vector<TokenId>{0, 1, 2, 0, 1, 2, 0}));
  options.repeat_last_n = 0;
  Sampler without(options, 3);
  without.Accept(0);
  EXPECT_EQ(*without.Sample(logits), 0);
  options.repeat_last_n = -1;
  Sampler all(options, 3);
  for (int i = 0; i < 500; ++i) all.Accept(i % 2);
  EXPECT_EQ(*all.Sample(logits), 2);
}

TEST(Sampler, AddsBiasesAndBarsTokens) {
  SamplerOptions options = Plain();
  options.temperature = 0;
  options.logit_bias = {{2, 5.0f}, {0, -kInf}};
  EXPECT_EQ(*Sampler(options, 3).Sample(std::vector<float>{100, 1, 0}), 2);
}

TEST(Sampler, NamesTheTokenWhoseLogitIsNoNumber) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), kInf}) {
    Sampler sampler(Plain(), 4);
    const Result<TokenId> result = sampler.Sample(std::vector<float>{0, 1, bad, 2});
    ASSERT_EQ(result.status().code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(result.status().message(), HasSubstr("logit of token 2: expected a finite number"));
  }
  Sampler sampler(Plain(), 2);
  EXPECT_FALSE(sampler.Sample(std::vector<float>{-kInf, -kInf}).ok());
  EXPECT_FALSE(sampler.Sample(std::vector<float>{1}).ok());
}

TEST(Sampler, ChecksItsOptions) {
  EXPECT_TRUE(CheckSamplerOptions(SamplerOptions{}, 10).ok());
  const auto expect_bad = [](auto change, const char* name) {
    SamplerOptions options;
    change(options);
    const Status status = CheckSamplerOptions(options, 10);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(status.message(), HasSubstr(name));
  };
  expect_bad([](SamplerOptions& o) { o.temperature = NAN; }, "temperature");
  expect_bad([](SamplerOptions& o) { o.top_p = -1; }, "top_p");
  expect_bad([](SamplerOptions& o) { o.min_p = 1.5f; }, "min_p");
  expect_bad([](SamplerOptions& o) { o.repeat_penalty = 0; }, "repeat_penalty");
  expect_bad([](SamplerOptions& o) { o.presence_penalty = kInf; }, "presence_penalty");
  expect_bad([](SamplerOptions& o) { o.frequency_penalty = kInf; }, "frequency_penalty");
  expect_bad([](SamplerOptions& o) { o.repeat_last_n = -2; }, "repeat_last_n");
  expect_bad([](SamplerOptions& o) { o.logit_bias = {{10, 1.0f}}; }, "token from 0 to 9");
  expect_bad([](SamplerOptions& o) { o.logit_bias = {{1, kInf}}; }, "bias of token 1");
}

TEST(Logprobs, EqualTheLogSoftmax) {
  const std::vector<float> logits = RandomLogits(100, 9);
  const std::vector<double> p = Softmax({logits.begin(), logits.end()});
  const Logprobs result = ComputeLogprobs(logits, 17, 100);
  EXPECT_EQ(result.chosen.id, 17);
  EXPECT_NEAR(result.chosen.logprob, std::log(p[17]), 1e-5);
  ASSERT_EQ(result.top.size(), 100u);
  double sum = 0;
  for (size_t i = 0; i < 100; ++i) {
    EXPECT_NEAR(result.top[i].logprob, std::log(p[result.top[i].id]), 1e-5);
    if (i > 0) {
      EXPECT_GE(result.top[i - 1].logprob, result.top[i].logprob);
    }
    sum += std::exp(result.top[i].logprob);
  }
  EXPECT_NEAR(sum, 1.0, 1e-5);
}

TEST(Logprobs, StayFiniteForLargeLogitsAndOrderEqualsById) {
  const Logprobs result = ComputeLogprobs(std::vector<float>{1e5f, 1e5f, -1e5f, -kInf}, 2, 3);
  EXPECT_EQ(result.chosen.logprob, -2e5f - std::log(2.0f));
  ASSERT_EQ(result.top.size(), 3u);
  EXPECT_EQ(result.top[0].id, 0);
  EXPECT_EQ(result.top[1].id, 1);
  EXPECT_FLOAT_EQ(result.top[0].logprob, -std::log(2.0f));
}

}  // namespace
}  // namespace kvasir
