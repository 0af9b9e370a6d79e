// Dispositions that keep something of what leaves, against their definitions in f64: on random
// layers of every group size and many head sizes.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "kvasir/policy/policy_testing.h"

namespace kvasir {
namespace {

constexpr int kTokens = 120, kSinks = 4, kRecent = 8, kBudget = 40;

CacheShape Shape(int n_layer, int group, int n_kv_head, int head_dim) {
  return {n_layer, group * n_kv_head, n_kv_head, head_dim, std::vector<int32_t>(n_layer, 0)};
}
const CacheShape kShapes[] = {Shape(3, 1, 2, 16), Shape(2, 2, 2, 64), Shape(2, 4, 1, 80),
                              Shape(2, 8, 1, 256)};

// Attention that all queries pay to each token, of one query head.
std::vector<double> ColumnSums(const PolicyWorld& world, int layer, int head) {
  std::vector<double> sums(kTokens);
  for (int i = 0; i < kTokens; ++i) {
    const auto w = world.ExactWeights(layer, i, head, [](int) { return true; });
    for (int t = 0; t < kTokens; ++t) sums[t] += w[t];
  }
  return sums;
}

double Dot(const float* a, const float* b, int n) {
  double sum = 0;
  for (int j = 0; j < n; ++j) sum += double{a[j]} * b[j];
  return sum;
}

// A list in f64: what is kept, and where each token that left belongs.
struct Cut {
  int d;
  std::vector<int32_t> kept, gone;
  std::vector<int> target;     // of those that left, index into kept
  std::vector<double> cosine;  // of the keys

  Cut(const PolicyWorld& world, int layer, int kv_head) : d(world.shape().head_dim) {
    kept = world.Kept(layer, kv_head);
    const std::vector<float>& k = world.layers()[layer].k;
    const auto row = [&](int32_t t) { return world.Row(k, t, kv_head); };
    for (int32_t t = 0; t < kTokens; ++t) {
      if (std::ranges::binary_search(kept, t)) continue;
      gone.push_back(t);
      target.push_back(0);
      cosine.push_back(-2);
      for (size_t i = 0; i < kept.size(); ++i) {
        const double c = Dot(row(t), row(kept[i]), d) /
                         std::sqrt(Dot(row(t), row(t), d) * Dot(row(kept[i]), row(kept[i]), d));
        if (c > cosine.back()) cosine.back() = c, target.back() = static_cast<int>(i);
      }
    }
  }
};

// What the engine holds.
struct Held {
  std::vector<float> k, v;
  Held(PolicyWorld& world, int layer, int kv_head) {
    const SegmentList& list = world.cache().list(layer, kv_head);
    k.resize(static_cast<size_t>(list.n_kv()) * world.shape().head_dim);
    v.resize(k.size());
    EXPECT_TRUE(list.Decode(0, list.n_kv(), k.data(), v.data()).ok());
  }
};

TEST(MergeInvariants, D2oSharesOutKeepsAndMergesAsItsCardSays) {
  for (const CacheShape& shape : kShapes) {
    for (const bool keys : {false, true}) {
      auto layers = RandomLayers(shape, kTokens, 31);
      for (float& x : layers[0].q) x *= 3;  // peaked
      PolicyWorld world(shape,
                        std::string("d2o(40,sinks=4,recent=8,keys=") + (keys ? "1" : "0") + ")+f32",
                        layers, 2);
      ASSERT_TRUE(world.Prefill(kTokens, 50).ok());
      // Layers: softmax of minus the variance of column sums, brought to [0, 1] over the heads.
      std::vector<std::vector<std::vector<double>>> sums(shape.n_layer);
      std::vector<double> weight;
      for (int layer = 0; layer < shape.n_layer; ++layer) {
        std::vector<double> variance;
        for (int head = 0; head < shape.n_head; ++head) {
          sums[layer].push_back(ColumnSums(world, layer, head));
          double mean = 0, squares = 0;
          for (double s : sums[layer].back()) mean += s / kTokens, squares += s * s / kTokens;
          variance.push_back(squares - mean * mean);
        }
        const auto [low, high] = std::ranges::minmax(variance);
        double f = 0;
        for (double x : variance) f += high > low ? (x - low) / (high - low) : 0.0;
        weight.push_back(std::exp(-f / shape.n_head));
      }
      double total = 0;
      for (double w : weight) total += w;
      int64_t n_kept = 0;
      for (int layer = 0; layer < shape.n_layer; ++layer) {
        for (int h = 0; h < shape.n_kv_head; ++h) {
          SCOPED_TRACE(testing::Message() << "layer " << layer << " head " << h);
          const Cut cut(world, layer, h);
          n_kept += static_cast<int64_t>(cut.kept.size());
          EXPECT_NEAR(static_cast<double>(cut.kept.size()),
                      kBudget * shape.n_layer * weight[layer] / total, 1.0);
          double worst_kept = 1e9, best_gone = 0;
          for (int t = 0; t < kTokens; ++t) {
            double score = 0;
            for (int g = 0; g < shape.group(); ++g) score += sums[layer][h * shape.group() + g][t];
            const bool in = std::ranges::binary_search(cut.kept, t);
            if (t < kSinks || t >= kTokens - kRecent) {
              EXPECT_TRUE(in) << t;
            } else {
              (in ? worst_kept : best_gone) =
                  in ? std::min(worst_kept, score) : std::max(best_gone, score);
            }
          }
          EXPECT_GE(worst_kept, best_gone - 1e-5);
          // Tokens at least as similar as the mean are mixed in by e^cosine.
          double mean = 0;
          for (double c : cut.cosine) mean += c / static_cast<double>(cut.gone.size());
          const Held held(world, layer, h);
          for (size_t i = 0; i < cut.kept.size(); ++i) {
            double share = std::exp(1.0);
            std::vector<double> k(cut.d), v(cut.d);
            const auto add = [&](int32_t t, double w) {
              for (int j = 0; j < cut.d; ++j) {
                k[j] += w * world.Row(world.layers()[layer].k, t, h)[j];
                v[j] += w * world.Row(world.layers()[layer].v, t, h)[j];
              }
            };
            add(cut.kept[i], share);
            for (size_t e = 0; e < cut.gone.size(); ++e) {
              if (cut.target[e] != static_cast<int>(i) || cut.cosine[e] < mean) continue;
              add(cut.gone[e], std::exp(cut.cosine[e]));
              share += std::exp(cut.cosine[e]);
            }
            for (int j = 0; j < cut.d; ++j) {
              EXPECT_NEAR(held.v[i * cut.d + j], v[j] / share, 1e-5);
              const float own = world.Row(world.layers()[layer].k, cut.kept[i], h)[j];
              EXPECT_NEAR(held.k[i * cut.d + j], keys ? k[j] / share : own, 1e-5);
            }
          }
        }
      }
      EXPECT_EQ(n_kept, kBudget * shape.n_layer * shape.n_kv_head);
    }
  }
}

TEST(MergeInvariants, ValuesMixByCosineAndLengthsAndCountTheTokensTheyStandFor) {
  for (const CacheShape& shape : kShapes) {
    PolicyWorld world(shape,
                      "score=columns budget=40 protect=recent(8) disposition=vmerge codec=f32",
                      RandomLayers(shape, kTokens, 32), 3);
    ASSERT_TRUE(world.Prefill(kTokens, 50).ok());
    for (int layer = 0; layer < shape.n_layer; ++layer) {
      for (int h = 0; h < shape.n_kv_head; ++h) {
        const Cut cut(world, layer, h);
        const Held held(world, layer, h);
        const auto value = [&](int32_t t) { return world.Row(world.layers()[layer].v, t, h); };
        const auto length = [&](int32_t t) { return std::sqrt(Dot(value(t), value(t), cut.d)); };
        const float* bias = world.cache().list(layer, h).tail().bias();
        ASSERT_NE(bias, nullptr);
        for (size_t i = 0; i < cut.kept.size(); ++i) {
          double share = 1, count = 1;
          std::vector<double> v(value(cut.kept[i]), value(cut.kept[i]) + cut.d);
          for (size_t e = 0; e < cut.gone.size(); ++e) {
            if (cut.target[e] != static_cast<int>(i) || !(cut.cosine[e] > 0)) continue;
            const double from = length(cut.gone[e]), to = length(cut.kept[i]);
            const double w = cut.cosine[e] * from / (from + to);
            for (int j = 0; j < cut.d; ++j) v[j] += w * value(cut.gone[e])[j];
            share += w;
            ++count;
          }
          EXPECT_NEAR(bias[i], std::log2(count), 1e-5);
          for (int j = 0; j < cut.d; ++j) {
            EXPECT_NEAR(held.v[i * cut.d + j], v[j] / share, 1e-5);
            EXPECT_EQ(held.k[i * cut.d + j], world.Row(world.layers()[layer].k, cut.kept[i], h)[j]);
          }
        }
      }
    }
  }
}

// Demoted tokens are all there, and what they answer is as good as their format.
TEST(DemotionInvariants, OnlyTheFormatIsLost) {
  struct Format {
    const char* codec;
    double tolerance;  // of outputs of about 0.3
  };
  for (const CacheShape& shape : kShapes) {
    const auto layers = RandomLayers(shape, kTokens, 33);
    PolicyWorld exact(shape, "exact", layers);
    ASSERT_TRUE(exact.Prefill(100, 30).ok());
    ASSERT_TRUE(exact.Decode(15).ok());
    for (const Format& format : {Format{"f16", 2e-6}, {"q8_0", 0.02}}) {
      for (const char* when : {"prefill", "steps(4)", "chunks(4)"}) {
        // Sums over all queries are not to be had after every chunk.
        const bool chunked = std::string(when).starts_with("chunks");
        const std::string recipe = std::string(chunked ? "score=knorm" : "score=columns") +
                                   " budget=30 protect=recent(8) disposition=demote(" +
                                   format.codec + ") schedule=" + when;
        SCOPED_TRACE(recipe);
        if (std::string(format.codec) == "q8_0" && shape.head_dim % 16 != 0) continue;
        PolicyWorld world(shape, recipe, layers);
        ASSERT_TRUE(world.Prefill(100, 30).ok());
        ASSERT_TRUE(world.Decode(15).ok());
        EXPECT_GT(world.run().n_evicted(), 0);
        double worst = 0;
        for (int layer = 0; layer < shape.n_layer; ++layer) {
          for (int h = 0; h < shape.n_kv_head; ++h) {
            const std::vector<int32_t> held = world.Kept(layer, h);
            const std::set<int32_t> distinct(held.begin(), held.end());
            EXPECT_EQ(distinct.size(), 115u);
            EXPECT_EQ(held.size(), 115u);
          }
          const auto got = world.Attend(layer, 115), want = exact.Attend(layer, 115);
          for (size_t i = 0; i < got.size(); ++i) {
            worst = std::max(worst, std::abs(double{got[i]} - want[i]));
          }
        }
        EXPECT_TRUE(worst <= format.tolerance) << worst;
      }
    }
  }
}

}  // namespace
}  // namespace kvasir
