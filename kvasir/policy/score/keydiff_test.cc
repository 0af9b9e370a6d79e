#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "kvasir/policy/policy_testing.h"

namespace kvasir {
namespace {

constexpr CacheShape kShape = {2, 4, 2, 16, {}};

// -cos to the mean unit key, in doubles.
std::vector<double> Definition(const PolicyWorld& world, int layer, int kv_head, int n) {
  const int d = world.shape().head_dim;
  std::vector<double> mean(static_cast<size_t>(d)), scores;
  const auto norm = [&](const auto& x) {
    double sum = 0;
    for (int j = 0; j < d; ++j) sum += double{x[j]} * x[j];
    return std::sqrt(sum);
  };
  for (int t = 0; t < n; ++t) {
    const float* k = world.Row(world.layers()[layer].k, t, kv_head);
    for (int j = 0; j < d; ++j) mean[j] += k[j] / norm(k) / n;
  }
  for (int t = 0; t < n; ++t) {
    const float* k = world.Row(world.layers()[layer].k, t, kv_head);
    double dot = 0;
    for (int j = 0; j < d; ++j) dot += k[j] * mean[j];
    scores.push_back(-dot / norm(k) / norm(mean));
  }
  return scores;
}

TEST(KeyDiff, KeepsTheTokensThatTheDefinitionNames) {
  constexpr int n = 200, budget = 50;
  PolicyWorld world(kShape, "codec=f32 score=keydiff budget=uniform:50",
                    RandomLayers(kShape, n, 3));
  ASSERT_TRUE(world.Prefill(n, n).ok());
  for (int layer = 0; layer < 2; ++layer) {
    for (int h = 0; h < 2; ++h) {
      const std::vector<double> scores = Definition(world, layer, h, n);
      std::vector<int32_t> want(n);
      for (int i = 0; i < n; ++i) want[i] = i;
      std::ranges::stable_sort(want, [&](int a, int b) { return scores[a] > scores[b]; });
      want.resize(budget);
      std::ranges::sort(want);
      EXPECT_EQ(world.Kept(layer, h), want) << layer << " " << h;
    }
  }
}

TEST(KeyDiff, NeverHoldsMoreThanTheBudgetAndOneChunk) {
  constexpr int n = 400, chunk = 32, budget = 64, n_list = 4;
  PolicyWorld world(kShape, "keydiff(64,sinks=4,recent=8)", RandomLayers(kShape, n + 50, 4));
  ASSERT_TRUE(world.Prefill(n, chunk).ok());
  EXPECT_LE(world.peak_held(), (budget + chunk) * n_list);
  EXPECT_EQ(world.n_held(), budget * n_list);
  ASSERT_TRUE(world.Decode(50).ok());
  EXPECT_LE(world.peak_held(), (budget + chunk) * n_list);
  EXPECT_LE(world.n_held(), (budget + 16) * n_list);
}

// A token whose key is unlike all others, before a window that looks elsewhere.
TEST(KeyDiff, KeepsANeedleThatTheWindowOfSnapKvDoesNotSee) {
  constexpr int n = 200, needle = 40;
  std::vector<LayerData> layers = RandomLayers(kShape, n, 5);
  const int d = kShape.head_dim;
  for (LayerData& layer : layers) {
    for (int t = 0; t < n; ++t) {
      for (int h = 0; h < kShape.n_kv_head; ++h) {
        float* k = &layer.k[(static_cast<size_t>(t) * kShape.n_kv_head + h) * d];
        for (int j = 0; j < d; ++j) k[j] *= 0.1f;
        k[t == needle ? 1 : 0] += 4;
      }
      for (int h = 0; h < kShape.n_head; ++h) {
        float* q = &layer.q[(static_cast<size_t>(t) * kShape.n_head + h) * d];
        for (int j = 0; j < d; ++j) q[j] *= 0.1f;
        q[0] += 4;
      }
    }
  }
  const auto keeps = [&](const char* recipe) {
    PolicyWorld world(kShape, recipe, layers);
    EXPECT_TRUE(world.Prefill(n, 50).ok());
    const std::vector<int32_t> kept = world.Kept(1, 0);
    return std::ranges::binary_search(kept, needle);
  };
  EXPECT_TRUE(keeps("keydiff:64"));
  EXPECT_FALSE(keeps("snapkv(64,pool=1)"));
}

}  // namespace
}  // namespace kvasir
