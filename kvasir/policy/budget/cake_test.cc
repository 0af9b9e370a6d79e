#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "kvasir/policy/policy_testing.h"

namespace kvasir {
namespace {

constexpr CacheShape kShape = {4, 4, 2, 16, {}};
constexpr int kTokens = 160, kWindow = 8;

std::vector<LayerData> UnevenLayers(uint32_t seed) {
  std::vector<LayerData> layers = RandomLayers(kShape, kTokens + 40, seed);
  for (int layer = 0; layer < kShape.n_layer; ++layer) {
    for (float& x : layers[layer].q) x *= 0.5f * static_cast<float>(layer + 1);
  }
  return layers;
}

std::vector<std::vector<int32_t>> AllKept(const PolicyWorld& world) {
  std::vector<std::vector<int32_t>> kept;
  for (int i = 0; i < kShape.n_layer * kShape.n_kv_head; ++i) {
    kept.push_back(world.Kept(i / kShape.n_kv_head, i % kShape.n_kv_head));
  }
  return kept;
}

int64_t Sum(const std::vector<std::vector<int32_t>>& kept) {
  int64_t n = 0;
  for (const auto& tokens : kept) n += static_cast<int64_t>(tokens.size());
  return n;
}

constexpr char kCake[] =
    "score=cake(8,gamma=200) reduce=mean shape=avgpool(5) budget=cake(40,rows=8) ";

TEST(Cake, CascadeKeepsWhatOneCutAtTheEndKeeps) {
  PolicyWorld cascade(kShape, std::string(kCake) + "schedule=cascade", UnevenLayers(1));
  PolicyWorld once(kShape, std::string(kCake) + "schedule=prefill", UnevenLayers(1));
  ASSERT_TRUE(cascade.Prefill(kTokens, kTokens).ok());
  ASSERT_TRUE(once.Prefill(kTokens, kTokens).ok());
  EXPECT_EQ(AllKept(cascade), AllKept(once));
  // The budget of all layers and one whole layer.
  EXPECT_LE(cascade.peak_held(), (40 * kShape.n_layer + kTokens) * kShape.n_kv_head);
  EXPECT_EQ(once.peak_held(), kTokens * kShape.n_layer * kShape.n_kv_head);
}

TEST(Cake, BudgetsSumToTheTotalExactly) {
  for (const char* tokens : {"9", "23", "40", "77", "101", "150"}) {
    const std::string recipe =
        std::string("score=cake(8) budget=cake(") + tokens + ",tau1=0.4,tau2=0.6,rows=8)";
    PolicyWorld world(kShape, recipe, UnevenLayers(2));
    ASSERT_TRUE(world.Prefill(kTokens, 64).ok());
    EXPECT_EQ(Sum(AllKept(world)), std::stoi(tokens) * kShape.n_layer * kShape.n_kv_head) << tokens;
  }
}

TEST(Cake, EqualLayersGetEqualBudgets) {
  std::vector<LayerData> layers = RandomLayers(kShape, kTokens, 3);
  for (LayerData& layer : layers) layer = layers[0];
  PolicyWorld world(kShape, kCake, layers);
  ASSERT_TRUE(world.Prefill(kTokens, kTokens).ok());
  for (const auto& kept : AllKept(world)) EXPECT_EQ(kept.size(), 40u);
}

// Preferences by the definition, from weights in doubles.
TEST(Cake, BudgetsFollowEntropyAndVarianceOfTheWindow) {
  constexpr double tau1 = 1.6, tau2 = 0.4;
  PolicyWorld world(kShape, "score=cake(8) budget=cake(40,rows=8)", UnevenLayers(4));
  std::vector<double> preference(kShape.n_layer);
  for (int layer = 0; layer < kShape.n_layer; ++layer) {
    double entropy = 0, shift = 0;
    for (int head = 0; head < kShape.n_head; ++head) {
      std::vector<double> sum(kTokens), square(kTokens);
      for (int token = kTokens - kWindow; token < kTokens; ++token) {
        const auto w = world.ExactWeights(layer, token, head, [](int) { return true; });
        for (int t = 0; t < kTokens - kWindow; ++t) {
          entropy -= w[t] * std::log(w[t] + 1e-10);
          sum[t] += w[t];
          square[t] += w[t] * w[t];
        }
      }
      for (int t = 0; t < kTokens; ++t) {
        shift += square[t] / kWindow - sum[t] / kWindow * sum[t] / kWindow;
      }
    }
    preference[layer] = std::pow(entropy, 1 / tau1) * std::pow(shift, 1 / tau2);
  }
  ASSERT_TRUE(world.Prefill(kTokens, 50).ok());
  const double total = std::accumulate(preference.begin(), preference.end(), 0.0);
  for (int layer = 0; layer < kShape.n_layer; ++layer) {
    const double want =
        std::min<double>(kTokens, kWindow + preference[layer] / total * 32 * kShape.n_layer);
    EXPECT_NEAR(static_cast<double>(world.Kept(layer, 0).size()), want, 2.0) << layer;
  }
}

TEST(Cake, WithoutVarianceScoresAsSnapKvDoes) {
  PolicyWorld cake(kShape, "score=cake(8,gamma=0) shape=avgpool(5) budget=uniform:40",
                   UnevenLayers(5));
  PolicyWorld snap(kShape, "score=window(8) shape=avgpool(5) budget=uniform:40", UnevenLayers(5));
  ASSERT_TRUE(cake.Prefill(kTokens, kTokens).ok());
  ASSERT_TRUE(snap.Prefill(kTokens, kTokens).ok());
  EXPECT_EQ(AllKept(cake), AllKept(snap));
}

TEST(D2oBudget, SumsToTheTotalAndFavoursEvenLayers) {
  std::vector<LayerData> layers = RandomLayers(kShape, kTokens, 6);
  // One head of layer 3 stares, so that its heads differ; min-max leaves its mean low or high, but
  // never outside [0, 1].
  PolicyWorld world(kShape, "score=columns budget=d2o(40)", layers);
  ASSERT_TRUE(world.Prefill(kTokens, 50).ok());
  EXPECT_EQ(Sum(AllKept(world)), 40 * kShape.n_layer * kShape.n_kv_head);
  std::vector<double> weight;
  for (int layer = 0; layer < kShape.n_layer; ++layer) {
    std::vector<double> variance;
    for (int head = 0; head < kShape.n_head; ++head) {
      std::vector<double> sums(kTokens);
      for (int token = 0; token < kTokens; ++token) {
        const auto w = world.ExactWeights(layer, token, head, [](int) { return true; });
        for (int t = 0; t < kTokens; ++t) sums[t] += w[t];
      }
      const double mean = std::accumulate(sums.begin(), sums.end(), 0.0) / kTokens;
      double var = 0;
      for (double s : sums) var += (s - mean) * (s - mean) / kTokens;
      variance.push_back(var);
    }
    const auto [low, high] = std::minmax_element(variance.begin(), variance.end());
    double spread = 0;
    for (double v : variance) spread += (v - *low) / (*high - *low) / kShape.n_head;
    weight.push_back(std::exp(-spread));
  }
  const double total = std::accumulate(weight.begin(), weight.end(), 0.0);
  for (int layer = 0; layer < kShape.n_layer; ++layer) {
    EXPECT_NEAR(static_cast<double>(world.Kept(layer, 1).size()),
                weight[layer] / total * 40 * kShape.n_layer, 1.5);
  }
}

}  // namespace
}  // namespace kvasir
