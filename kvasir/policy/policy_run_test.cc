// The invariants of eviction, against definitions in f64 over explicit softmax matrices.
#include "kvasir/policy/policy_run.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <random>
#include <set>

#include "kvasir/policy/policy_testing.h"

namespace kvasir {
namespace {

const auto kAll = [](int) { return true; };

CacheShape Shape(int n_layer, int group, int n_kv_head, int head_dim) {
  return {n_layer, group * n_kv_head, n_kv_head, head_dim, std::vector<int32_t>(n_layer, 0)};
}

// Every group size and a spread of head sizes.
const CacheShape kShapes[] = {Shape(2, 1, 2, 16), Shape(2, 2, 2, 64), Shape(1, 4, 2, 80),
                              Shape(1, 8, 1, 256), Shape(3, 3, 2, 32)};

// Mean weight that the last `window` of `n` queries pay to token t, mean over the group, f64.
std::vector<double> WindowScores(const PolicyWorld& world, int layer, int kv_head, int n,
                                 int window) {
  std::vector<double> score(n);
  const int group = world.shape().group(), rows = std::min(window, n);
  for (int g = 0; g < group; ++g) {
    for (int i = n - rows; i < n; ++i) {
      const auto weights = world.ExactWeights(layer, i, kv_head * group + g, kAll);
      for (int t = 0; t < n; ++t) score[t] += weights[t] / (rows * group);
    }
  }
  return score;
}

std::vector<double> MaxPool(const std::vector<double>& in, int n, int size) {
  std::vector<double> out = in;
  for (int t = 0; t < n; ++t) {
    for (int i = std::max(0, t - size / 2); i <= std::min(n - 1, t + size / 2); ++i) {
      out[t] = std::max(out[t], in[i]);
    }
  }
  return out;
}

// What is kept is the best by `score`, but for tokens whose scores f32 cannot tell apart.
void ExpectBest(const std::vector<int32_t>& kept, const std::vector<double>& score,
                const std::function<bool(int)>& is_protected, int64_t budget) {
  ASSERT_EQ(static_cast<int64_t>(kept.size()), std::min<int64_t>(budget, score.size()));
  ASSERT_TRUE(std::is_sorted(kept.begin(), kept.end()));
  const std::set<int32_t> in(kept.begin(), kept.end());
  ASSERT_EQ(in.size(), kept.size());
  double worst_kept = 1e300, best_gone = -1e300;
  for (int t = 0; t < static_cast<int>(score.size()); ++t) {
    if (is_protected(t)) {
      ASSERT_TRUE(in.count(t)) << "protected token " << t;
    } else if (in.count(t)) {
      worst_kept = std::min(worst_kept, score[t]);
    } else {
      best_gone = std::max(best_gone, score[t]);
    }
  }
  const double slack = 1e-6 * std::max(1.0, std::fabs(best_gone));
  ASSERT_TRUE(worst_kept >= best_gone - slack) << worst_kept << " kept, " << best_gone << " gone";
}

TEST(Policy, KeepsTheBestByWindowScores) {
  uint32_t seed = 0;
  for (const CacheShape& shape : kShapes) {
    constexpr int kTokens = 150, kBudget = 40, kWindow = 8;
    PolicyWorld world(shape, "score=window(8) shape=maxpool(5) budget=40 codec=f32",
                      RandomLayers(shape, kTokens, ++seed));
    ASSERT_TRUE(world.Prefill(kTokens, 64).ok());
    for (int layer = 0; layer < shape.n_layer; ++layer) {
      for (int kv_head = 0; kv_head < shape.n_kv_head; ++kv_head) {
        const auto score =
            MaxPool(WindowScores(world, layer, kv_head, kTokens, kWindow), kTokens - kWindow, 5);
        ExpectBest(
            world.Kept(layer, kv_head), score, [&](int t) { return t >= kTokens - kWindow; },
            kBudget);
      }
    }
  }
}

TEST(Policy, KeepsTheBestByColumnSumsOfAllQueries) {
  uint32_t seed = 100;
  for (const CacheShape& shape : kShapes) {
    constexpr int kTokens = 140;
    PolicyWorld world(shape, "score=columns budget=30 protect=recent(10) codec=f32",
                      RandomLayers(shape, kTokens, ++seed));
    ASSERT_TRUE(world.Prefill(kTokens, 33).ok());
    const int group = shape.group();
    for (int kv_head = 0; kv_head < shape.n_kv_head; ++kv_head) {
      std::vector<double> score(kTokens);
      for (int g = 0; g < group; ++g) {
        for (int i = 0; i < kTokens; ++i) {
          const auto weights = world.ExactWeights(0, i, kv_head * group + g, kAll);
          for (int t = 0; t < kTokens; ++t) score[t] += weights[t] / group;
        }
      }
      ExpectBest(
          world.Kept(0, kv_head), score, [&](int t) { return t >= kTokens - 10; }, 30);
    }
  }
}

TEST(Policy, KeepsSmallKeysByTheirNorm) {
  const CacheShape shape = Shape(1, 2, 2, 48);
  PolicyWorld world(shape, "score=knorm budget=50% protect=sinks(3) codec=f32",
                    RandomLayers(shape, 121, 7));
  ASSERT_TRUE(world.Prefill(121, 50).ok());
  for (int kv_head = 0; kv_head < 2; ++kv_head) {
    std::vector<double> score;
    for (int t = 0; t < 121; ++t) {
      double sum = 0;
      for (int j = 0; j < 48; ++j) {
        sum += std::pow(double{world.Row(world.layers()[0].k, t, kv_head)[j]}, 2);
      }
      score.push_back(-std::sqrt(sum));
    }
    ExpectBest(
        world.Kept(0, kv_head), score, [](int t) { return t < 3; }, 60);
  }
}

TEST(Policy, LetsHeadsOfALayerCompeteWithAFloor) {
  const CacheShape shape = Shape(2, 2, 4, 32);
  PolicyWorld world(shape, "score=window(8) budget=40 keep=pooled(0.3) codec=f32",
                    RandomLayers(shape, 200, 9));
  ASSERT_TRUE(world.Prefill(200, 200).ok());
  for (int layer = 0; layer < 2; ++layer) {
    size_t total = 0;
    double worst_free = 1e300, best_gone = -1e300;
    for (int h = 0; h < 4; ++h) {
      const auto kept = world.Kept(layer, h);
      const auto score = WindowScores(world, layer, h, 200, 8);
      total += kept.size();
      // Each head has its own 12 best (the window's 8 and 4 more); the rest compete.
      std::vector<int> order(192);
      for (int t = 0; t < 192; ++t) order[t] = t;
      std::sort(order.begin(), order.end(), [&](int a, int b) { return score[a] > score[b]; });
      const std::set<int32_t> in(kept.begin(), kept.end());
      for (int i = 0; i < 192; ++i) {
        const bool held = in.count(order[i]) > 0;
        if (i < 4) {
          EXPECT_TRUE(held);
        } else if (held) {
          worst_free = std::min(worst_free, score[order[i]]);
        } else {
          best_gone = std::max(best_gone, score[order[i]]);
        }
      }
    }
    EXPECT_EQ(total, 160u);
    EXPECT_GE(worst_free, best_gone - 1e-6);
  }
}

TEST(Policy, LeavesEveryBitAloneWhileTheBudgetSuffices) {
  for (const char* recipe :
       {"snapkv(budget=300,window=8)", "h2o:300", "tova:300", "streaming:300", "adakv:300",
        "pyramidkv(300,8)", "score=window(8) budget=300 schedule=cascade"}) {
    const CacheShape shape = Shape(2, 2, 2, 64);
    const auto layers = RandomLayers(shape, 150, 5);
    PolicyWorld world(shape, recipe, layers), exact(shape, "exact", layers);
    ASSERT_TRUE(world.Prefill(120, 50).ok());
    ASSERT_TRUE(world.Decode(20).ok());
    ASSERT_TRUE(exact.Prefill(140, 140).ok());
    EXPECT_EQ(world.run().n_evicted(), 0);
    EXPECT_EQ(world.Attend(1, 140), exact.Attend(1, 140)) << recipe;
  }
}

// One list as it should be after eviction, with original positions.
TEST(Policy, AttendsAsFullAttentionWithEvictedKeysMasked) {
  uint32_t seed = 50;
  for (const CacheShape& shape : kShapes) {
    for (const char* recipe :
         {"adakv(budget=40,window=8)", "random(40,4,8)", "streaming(40,position=original)"}) {
      PolicyWorld world(shape, std::string(recipe) + "+f32", RandomLayers(shape, 160, ++seed));
      ASSERT_TRUE(world.Prefill(130, 48).ok());
      ASSERT_TRUE(world.Decode(20).ok());
      for (int layer = 0; layer < shape.n_layer; ++layer) {
        const auto out = world.Attend(layer, 155);
        for (int head = 0; head < shape.n_head; ++head) {
          const int kv_head = head / shape.group();
          const auto kept = world.Kept(layer, kv_head);
          const std::set<int32_t> in(kept.begin(), kept.end());
          const auto weights =
              world.ExactWeights(layer, 155, head, [&](int t) { return in.count(t) > 0; });
          for (int j = 0; j < shape.head_dim; ++j) {
            double sum = 0;
            for (int32_t t : kept) {
              sum += weights[t] * world.Row(world.layers()[layer].v, t, kv_head)[j];
            }
            ASSERT_NEAR(out[head * shape.head_dim + j], sum, 1e-5) << recipe;
          }
        }
      }
    }
  }
}

TEST(Policy, ChoosesTheSameTokensHoweverThePromptIsCut) {
  for (const char* recipe :
       {"snapkv(budget=50,window=16)", "h2o(budget=50,recent=8)", "tova:50", "knorm:50",
        "random:50", "adakv(budget=50,window=16)", "pyramidkv(budget=50,window=16)"}) {
    const CacheShape shape = Shape(2, 2, 2, 32);
    const auto layers = RandomLayers(shape, 170, 3);
    PolicyWorld whole(shape, recipe, layers);
    ASSERT_TRUE(whole.Prefill(165, 165).ok());
    for (int chunk : {1, 7, 16, 64, 160}) {
      PolicyWorld world(shape, recipe, layers, chunk % 3 + 1);
      ASSERT_TRUE(world.Prefill(165, chunk).ok());
      for (int i = 0; i < 4; ++i) {
        EXPECT_EQ(world.Kept(i / 2, i % 2), whole.Kept(i / 2, i % 2)) << recipe << " by " << chunk;
      }
      EXPECT_EQ(world.Attend(0, 165), whole.Attend(0, 165));
    }
  }
}

TEST(Policy, FreesTheBytesOfWhatIsEvicted) {
  const CacheShape shape = Shape(2, 2, 2, 64);
  const auto tile_bytes = int64_t{16} * 64 * 2 * 2;
  PolicyWorld world(shape, "random:64", RandomLayers(shape, 640, 4));
  ASSERT_TRUE(world.Prefill(639, 639).ok());
  EXPECT_EQ(world.n_held(), 64 * 4);
  EXPECT_EQ(world.arena().used_bytes(), 4 * 4 * tile_bytes);
  EXPECT_EQ(world.run().n_evicted(), (639 - 64) * 4);
}

TEST(Policy, NeverHoldsMoreThanTheCapAndOneChunk) {
  const CacheShape shape = Shape(3, 2, 2, 32);
  PolicyWorld world(shape, "knorm:64 schedule=chunks(4)", RandomLayers(shape, 700, 4));
  ASSERT_TRUE(world.Prefill(640, 32).ok());
  EXPECT_LE(world.peak_held(), (64 + 32) * 6);
  EXPECT_EQ(world.n_held(), 64 * 6);
  ASSERT_TRUE(world.Decode(50).ok());
  EXPECT_LE(world.peak_held(), (64 + 32) * 6);
  EXPECT_LE(world.n_held(), (64 + 4) * 6);
}

TEST(Policy, CascadesToWhatOneCutWouldKeep) {
  const CacheShape shape = Shape(4, 2, 2, 32);
  const auto layers = RandomLayers(shape, 200, 8);
  for (const char* recipe : {"score=window(8) budget=48", "score=window(8) budget=pyramid:48"}) {
    PolicyWorld once(shape, recipe, layers);
    PolicyWorld cascade(shape, std::string(recipe) + " schedule=cascade", layers);
    ASSERT_TRUE(once.Prefill(200, 70).ok());
    ASSERT_TRUE(cascade.Prefill(200, 70).ok());
    for (int layer = 0; layer < 4; ++layer) {
      for (int h = 0; h < 2; ++h) EXPECT_EQ(once.Kept(layer, h), cascade.Kept(layer, h)) << recipe;
    }
  }
}

TEST(Policy, TakesPromptsShorterThanTheWindow) {
  for (int n : {1, 2, 7, 31, 32, 33}) {
    const CacheShape shape = Shape(1, 2, 2, 16);
    PolicyWorld world(shape, "snapkv:32", RandomLayers(shape, 40, 1));
    ASSERT_TRUE(world.Prefill(n, 5).ok()) << n;
    EXPECT_EQ(world.n_held(), 2 * std::min(n, 32)) << n;
    ASSERT_TRUE(world.Decode(3).ok());
  }
}

TEST(Policy, KeepsOneSetForAllHeadsWhereTheReducerJoinsThem) {
  const CacheShape shape = Shape(2, 2, 4, 32);
  PolicyWorld world(shape, "tova:40", RandomLayers(shape, 200, 2));
  ASSERT_TRUE(world.Prefill(150, 64).ok());
  ASSERT_TRUE(world.Decode(40).ok());
  for (int layer = 0; layer < 2; ++layer) {
    for (int h = 1; h < 4; ++h) EXPECT_EQ(world.Kept(layer, h), world.Kept(layer, 0));
    EXPECT_LE(world.Kept(layer, 0).size(), 56u);
  }
}

TEST(Policy, KeepsANeedleThatTheWindowSeesAndOnlyThen) {
  const CacheShape shape = Shape(1, 1, 1, 32);
  auto layers = RandomLayers(shape, 300, 6);
  // Channels 0 and 1 belong to two needles. Token 77 answers the last query; token 99 answers
  // queries 150 to 159, long before the window.
  for (int t = 0; t < 300; ++t) layers[0].q[t * 32] = layers[0].q[t * 32 + 1] = 0;
  for (const auto& [channel, needle, query] : {std::tuple{0, 77, 299}, {1, 99, 150}}) {
    std::fill_n(&layers[0].k[needle * 32], 32, 0.0f);
    layers[0].k[needle * 32 + channel] = 40;
    for (int i = query; i < std::min(300, query + 10); ++i) layers[0].q[i * 32 + channel] = 5;
  }
  PolicyWorld world(shape, "snapkv(budget=24,window=8,pool=1)", layers);
  ASSERT_TRUE(world.Prefill(300, 128).ok());
  const auto kept = world.Kept(0, 0);
  EXPECT_TRUE(std::count(kept.begin(), kept.end(), 77));
  EXPECT_FALSE(std::count(kept.begin(), kept.end(), 99));
  PolicyWorld all(shape, "h2o(budget=40,recent=8)", layers);
  ASSERT_TRUE(all.Prefill(300, 128).ok());
  const auto hitters = all.Kept(0, 0);
  EXPECT_TRUE(std::count(hitters.begin(), hitters.end(), 99));
}

// Random histories: lists, sums and windows stay in step, forks do not touch each other.
TEST(Policy, KeepsItsStateAlignedThroughAppendCutForkAndRewind) {
  const CacheShape shape = Shape(2, 2, 2, 16);
  for (const char* recipe :
       {"h2o(budget=40,recent=8,every=3)", "tova(40,3)", "streaming(40,4,3,original)",
        "snapkv(budget=40,window=8) schedule=steps(5)"}) {
    std::mt19937 rng(1);
    const auto layers = RandomLayers(shape, 900, 12);
    PolicyWorld world(shape, recipe, layers);
    ASSERT_TRUE(world.Prefill(100, 30).ok());
    while (world.cache().n_pos() < 800) {
      switch (rng() % 4) {
        case 0: ASSERT_TRUE(world.Prefill(1 + rng() % 60, 1 + rng() % 40).ok()); break;
        case 1: ASSERT_TRUE(world.Decode(1 + rng() % 30).ok()); break;
        case 2: ASSERT_TRUE(world.ForkSelf().ok()); break;
        case 3: {
          const int32_t floor = world.run().rewind_floor(), n = world.cache().n_pos();
          if (n > floor) {
            ASSERT_TRUE(world.Rewind(floor + 1 + static_cast<int32_t>(rng() % (n - floor))).ok());
          }
          break;
        }
      }
      for (int i = 0; i < 4; ++i) {
        const auto kept = world.Kept(i / 2, i % 2);
        ASSERT_TRUE(std::is_sorted(kept.begin(), kept.end()));
        ASSERT_LT(kept.back(), world.cache().n_pos());
        if (world.run().tap().rewind_floor() > 0) {
          ASSERT_EQ(world.run().tap().column_sums(i / 2, i % 2, 0).size(), kept.size());
        }
      }
      ASSERT_LE(world.n_held(), 4 * (40 + 60));
    }
  }
}

TEST(Policy, LeavesTheForkedSequenceAlone) {
  const CacheShape shape = Shape(1, 2, 2, 32);
  PolicyWorld world(shape, "h2o(budget=40,recent=8,every=1)", RandomLayers(shape, 300, 12));
  ASSERT_TRUE(world.Prefill(100, 100).ok());
  auto cache = *world.cache().Fork();
  auto run = *world.run().Fork();
  const auto before = cache->list(0, 0).AllPositions();
  const std::vector<float> sums(run->tap().column_sums(0, 0, 0).begin(),
                                run->tap().column_sums(0, 0, 0).end());
  ASSERT_TRUE(world.Decode(60).ok());
  EXPECT_EQ(cache->list(0, 0).AllPositions(), before);
  EXPECT_TRUE(std::equal(sums.begin(), sums.end(), run->tap().column_sums(0, 0, 0).begin(),
                         run->tap().column_sums(0, 0, 0).end()));
}

TEST(Policy, TellsCodecsWhichTokensMatter) {
  const CacheShape shape = Shape(2, 2, 2, 64);
  PolicyWorld world(shape, "score=window(8) budget=100% codec=mikv", RandomLayers(shape, 600, 2));
  ASSERT_TRUE(world.Prefill(300, 100).ok());
  const int64_t sealed = world.n_held() - 4 * world.cache().list(0, 0).tail().n_kv();
  EXPECT_GT(sealed, 0);
  const Status status = world.Decode(250);
  ASSERT_TRUE(status.ok()) << status.ToString();
  EXPECT_EQ(world.n_held(), 550 * 4);
  EXPECT_LT(world.cache().list(1, 1).tail().n_kv(), 300);
}

TEST(Policy, ProtectsSpecialTokens) {
  const CacheShape shape = Shape(1, 1, 2, 16);
  PolicyWorld world(shape, "score=random budget=40 protect=special,recent(4)",
                    RandomLayers(shape, 400, 2));
  ASSERT_TRUE(world.Prefill(199, 64).ok());
  for (int h = 0; h < 2; ++h) {
    const auto kept = world.Kept(0, h);
    for (int32_t t : {0, 50, 100, 150}) EXPECT_TRUE(std::count(kept.begin(), kept.end(), t)) << t;
    EXPECT_EQ(kept.size(), 40u);
  }
}

}  // namespace
}  // namespace kvasir
