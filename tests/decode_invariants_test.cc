// What the papers' methods must satisfy while tokens are generated, after every chunk and after
// every layer, against definitions in f64. The cards' other claims: card_invariants_test.cc,
// merge_invariants_test.cc, and the tests beside the parts.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "kvasir/policy/policy_testing.h"

namespace kvasir {
namespace {

CacheShape Shape(int n_layer, int group, int n_kv_head, int head_dim) {
  return {n_layer, group * n_kv_head, n_kv_head, head_dim, std::vector<int32_t>(n_layer, 0)};
}
const CacheShape kShapes[] = {Shape(1, 1, 2, 16), Shape(2, 2, 2, 32), Shape(1, 4, 2, 80),
                              Shape(1, 8, 1, 256)};

// A list that is followed in f64: the tokens it holds and what each has received.
struct Followed {
  std::vector<int32_t> held;
  std::vector<std::vector<double>> sums;  // by head of the group, then position
};

// Weights that query `token` pays to what is held, mean over the group, by position.
std::vector<double> RowOf(const PolicyWorld& world, int layer, int kv_head, int token,
                          const std::vector<int32_t>& held, Followed* follow) {
  const std::set<int32_t> in(held.begin(), held.end());
  const int group = world.shape().group();
  std::vector<double> mean(static_cast<size_t>(world.n_token()));
  for (int g = 0; g < group; ++g) {
    const auto weights = world.ExactWeights(layer, token, kv_head * group + g,
                                            [&](int t) { return in.count(t) > 0; });
    for (int32_t t : held) {
      mean[t] += weights[t] / group;
      if (follow != nullptr) follow->sums[g][t] += weights[t];
    }
  }
  return mean;
}

TEST(DecodeInvariants, H2oHoldsTheHeaviestThroughAThousandEvictions) {
  constexpr int kPrompt = 60, kSteps = 1000, kBudget = 40, kRecent = 8;
  const CacheShape shape = Shape(1, 2, 2, 16);
  PolicyWorld world(shape, "h2o(40,recent=8,every=1)+f32",
                    RandomLayers(shape, kPrompt + kSteps, 21), 2);
  ASSERT_TRUE(world.Prefill(kPrompt, 17).ok());
  std::vector<Followed> lists(2);
  std::vector<int32_t> prompt(kPrompt);
  std::iota(prompt.begin(), prompt.end(), 0);
  for (int h = 0; h < 2; ++h) {
    lists[h].sums.assign(2, std::vector<double>(static_cast<size_t>(kPrompt + kSteps)));
    for (int t = 0; t < kPrompt; ++t) RowOf(world, 0, h, t, prompt, &lists[h]);
    lists[h].held = world.Kept(0, h);
  }
  for (int token = kPrompt; token < kPrompt + kSteps; ++token) {
    ASSERT_TRUE(world.Decode(1).ok());
    for (int h = 0; h < 2; ++h) {
      Followed& list = lists[h];
      list.held.push_back(token);
      RowOf(world, 0, h, token, list.held, &list);
      const std::vector<int32_t> kept = world.Kept(0, h);
      ASSERT_EQ(kept.size(), size_t{kBudget});
      std::vector<int32_t> gone;
      std::ranges::set_difference(list.held, kept, std::back_inserter(gone));
      ASSERT_EQ(gone.size(), 1u) << token;
      EXPECT_LE(gone[0], token - kRecent);
      const auto score = [&](int32_t t) { return list.sums[0][t] + list.sums[1][t]; };
      for (int32_t t : kept) {
        if (t > token - kRecent) continue;
        ASSERT_GE(score(t), score(gone[0]) - 1e-5) << t << " at " << token;
      }
      list.held = kept;
    }
  }
  // Sums are those of the tokens they stand beside.
  for (int h = 0; h < 2; ++h) {
    for (int g = 0; g < 2; ++g) {
      const auto sums = world.run().tap().column_sums(0, h, g);
      ASSERT_EQ(sums.size(), lists[h].held.size());
      for (size_t i = 0; i < sums.size(); ++i) {
        EXPECT_NEAR(sums[i], lists[h].sums[g][lists[h].held[i]], 1e-4);
      }
    }
  }
}

TEST(DecodeInvariants, TovaGivesUpOneTokenAStepTheSameForAllHeads) {
  for (const CacheShape& shape : kShapes) {
    constexpr int kPrompt = 50, kSteps = 60;
    PolicyWorld world(shape, "tova(40,every=1)+f32", RandomLayers(shape, kPrompt + kSteps, 22), 2);
    ASSERT_TRUE(world.Prefill(kPrompt, 20).ok());
    for (int token = kPrompt; token < kPrompt + kSteps; ++token) {
      for (int layer = 0; layer < shape.n_layer; ++layer) {
        ASSERT_EQ(world.Kept(layer, 0).size(), 40u);
      }
      std::vector<std::vector<int32_t>> before;
      for (int layer = 0; layer < shape.n_layer; ++layer) before.push_back(world.Kept(layer, 0));
      ASSERT_TRUE(world.Decode(1).ok());
      for (int layer = 0; layer < shape.n_layer; ++layer) {
        std::vector<int32_t>& held = before[layer];
        held.push_back(token);
        const std::vector<int32_t> kept = world.Kept(layer, 0);
        std::vector<int32_t> gone;
        std::ranges::set_difference(held, kept, std::back_inserter(gone));
        ASSERT_EQ(gone.size(), 1u);
        std::vector<double> row(static_cast<size_t>(world.n_token()));
        for (int h = 0; h < shape.n_kv_head; ++h) {
          ASSERT_EQ(world.Kept(layer, h), kept);
          const auto mean = RowOf(world, layer, h, token, held, nullptr);
          for (size_t t = 0; t < row.size(); ++t) row[t] += mean[t];
        }
        for (int32_t t : kept) {
          if (t != token) {
            ASSERT_GE(row[t], row[gone[0]] - 1e-6) << t << " at " << token;
          }
        }
      }
    }
  }
}

TEST(DecodeInvariants, StreamingHoldsSinksAndTheNewestAtEveryMoment) {
  for (const CacheShape& shape : kShapes) {
    for (const char* position : {"original", "renumber"}) {
      PolicyWorld world(shape, std::string("streaming(40,4,1,") + position + ")",
                        RandomLayers(shape, 220, 23), 2);
      const auto check = [&](int n) {
        std::vector<int32_t> expected(static_cast<size_t>(std::min(n, 40)));
        std::iota(expected.begin(), expected.end(), 0);
        for (int i = 4; n > 40 && i < 40; ++i) expected[i] = n - 40 + i;
        for (int layer = 0; layer < shape.n_layer; ++layer) {
          for (int h = 0; h < shape.n_kv_head; ++h) EXPECT_EQ(world.Kept(layer, h), expected) << n;
        }
      };
      for (int chunk : {3, 30, 17, 50, 1}) {
        ASSERT_TRUE(world.Prefill(chunk, chunk).ok());
        check(world.cache().n_pos());
        EXPECT_LE(world.peak_held(), (40 + 50) * shape.n_layer * shape.n_kv_head);
      }
      for (int i = 0; i < 50; ++i) {
        ASSERT_TRUE(world.Decode(1).ok());
        check(world.cache().n_pos());
      }
    }
  }
}

// What a token is worth does not change with what comes later, so that cutting often keeps what
// cutting once does.
TEST(ChunkInvariants, StaticScoresKeepTheSameTokensHoweverThePromptIsCut) {
  for (const CacheShape& shape : kShapes) {
    for (const char* keeps :
         {"score=knorm budget=40 protect=sinks(4)", "score=random budget=40 protect=sinks(4)",
          "score=recency budget=40 protect=sinks(4)"}) {
      const auto layers = RandomLayers(shape, 200, 24);
      PolicyWorld once(shape, keeps, layers);
      ASSERT_TRUE(once.Prefill(190, 190).ok());
      for (int chunk : {1, 13, 64}) {
        PolicyWorld often(shape, std::string(keeps) + " schedule=chunks(1)", layers);
        ASSERT_TRUE(often.Prefill(190, chunk).ok());
        for (int layer = 0; layer < shape.n_layer; ++layer) {
          for (int h = 0; h < shape.n_kv_head; ++h) {
            EXPECT_EQ(often.Kept(layer, h), once.Kept(layer, h)) << keeps << " by " << chunk;
          }
        }
      }
    }
  }
}

TEST(ChunkInvariants, ColumnSumsHaveTheSameBitsHoweverThePromptIsCut) {
  for (const CacheShape& shape : kShapes) {
    const auto layers = RandomLayers(shape, 120, 25);
    PolicyWorld whole(shape, "h2o(1000,recent=8)", layers, 1);
    ASSERT_TRUE(whole.Prefill(110, 110).ok());
    for (int chunk : {1, 9, 50}) {
      PolicyWorld world(shape, "h2o(1000,recent=8)", layers, 3);
      ASSERT_TRUE(world.Prefill(110, chunk).ok());
      for (int head = 0; head < shape.n_head; ++head) {
        const auto a = whole.run().tap().column_sums(0, head / shape.group(), head % shape.group());
        const auto b = world.run().tap().column_sums(0, head / shape.group(), head % shape.group());
        EXPECT_TRUE(std::ranges::equal(a, b)) << chunk;
      }
    }
  }
}

TEST(CascadeInvariants, NeverHoldMoreThanTheBudgetAndOneLayer) {
  for (const char* recipe : {"cake(40,window=8)",
                             "score=window(8) budget=pyramid:40 "
                             "schedule=cascade",
                             "score=window(8) budget=40 keep=critical schedule=cascade"}) {
    const CacheShape shape = Shape(5, 2, 2, 32);
    const auto layers = RandomLayers(shape, 200, 26);
    PolicyWorld world(shape, recipe, layers);
    ASSERT_TRUE(world.Prefill(200, 200).ok());
    EXPECT_EQ(world.n_held(), 40 * 5 * 2) << recipe;
    EXPECT_LE(world.peak_held(), (40 * 5 + 200) * 2) << recipe;
  }
}

TEST(CascadeInvariants, CriticalTokensAreThoseOfOneCut) {
  for (int group : {1, 2, 4, 8}) {
    const CacheShape shape = Shape(4, group, 2, 32);
    const auto layers = RandomLayers(shape, 200, 27);
    const std::string recipe = "score=window(8) budget=pyramid:48 keep=critical";
    PolicyWorld once(shape, recipe, layers), cascade(shape, recipe + " schedule=cascade", layers);
    ASSERT_TRUE(once.Prefill(200, 70).ok());
    ASSERT_TRUE(cascade.Prefill(200, 70).ok());
    for (int layer = 0; layer < 4; ++layer) {
      for (int h = 0; h < 2; ++h) EXPECT_EQ(once.Kept(layer, h), cascade.Kept(layer, h));
    }
  }
}

TEST(CardInvariants, HeadsThatCompeteRetainAsMuchAttentionAsEqualOnes) {
  for (const CacheShape& shape : kShapes) {
    constexpr int kTokens = 150, kWindow = 8;
    auto layers = RandomLayers(shape, kTokens, 28);
    for (size_t i = 0; i < layers[0].q.size(); ++i) {
      layers[0].q[i] *= i / shape.head_dim % shape.n_head == 0 ? 3.0f : 0.5f;  // peaked and flat
    }
    double mass[2] = {};
    for (int pooled = 0; pooled < 2; ++pooled) {
      PolicyWorld world(shape,
                        std::string("score=window(8) budget=40 keep=") +
                            (pooled ? "pooled(0)" : "topk") + " codec=f32",
                        layers);
      ASSERT_TRUE(world.Prefill(kTokens, 64).ok());
      for (int h = 0; h < shape.n_kv_head; ++h) {
        for (int token = kTokens - kWindow; token < kTokens; ++token) {
          for (int g = 0; g < shape.group(); ++g) {
            const auto w =
                world.ExactWeights(0, token, h * shape.group() + g, [](int) { return true; });
            for (int32_t t : world.Kept(0, h)) mass[pooled] += w[t];
          }
        }
      }
    }
    EXPECT_GE(mass[1], mass[0] - 1e-5);
    if (shape.n_kv_head > 1) {
      EXPECT_GT(mass[1], mass[0]);
    }
  }
}

TEST(CardInvariants, CriticalTokensAreHalfByScoreAndHalfByEffect) {
  for (const CacheShape& shape : kShapes) {
    constexpr int kTokens = 130, kWindow = 8, kBudget = 40;
    PolicyWorld world(shape, "score=window(8) budget=40 keep=critical codec=f32",
                      RandomLayers(shape, kTokens, 29), 3);
    ASSERT_TRUE(world.Prefill(kTokens, 41).ok());
    const int group = shape.group(), d = shape.head_dim;
    for (int layer = 0; layer < shape.n_layer; ++layer) {
      for (int h = 0; h < shape.n_kv_head; ++h) {
        std::vector<double> score(kTokens), effect(kTokens);
        for (int token = kTokens - kWindow; token < kTokens; ++token) {
          for (int g = 0; g < group; ++g) {
            const auto w =
                world.ExactWeights(layer, token, h * group + g, [](int) { return true; });
            for (int t = 0; t < kTokens; ++t) score[t] += w[t] / (kWindow * group);
          }
        }
        for (int t = 0; t < kTokens; ++t) {
          const float* v = world.Row(world.layers()[layer].v, t, h);
          double length = 0;
          for (int g = 0; g < group; ++g) {
            for (int64_t row = 0; row < kTestEmbd; ++row) {
              double x = 0;
              for (int j = 0; j < d; ++j) {
                x += double{TestOutput(layer, row, int64_t{h * group + g} * d + j)} * v[j];
              }
              length += std::abs(x) / group;
            }
          }
          effect[t] = (score[t] + 1e-4) * length;
        }
        const auto best = [](const std::vector<double>& by, std::vector<bool>* in, int n) {
          for (; n > 0; --n) {
            int at = -1;
            for (int t = 0; t < static_cast<int>(by.size()); ++t) {
              if (!(*in)[t] && (at < 0 || by[t] > by[at])) at = t;
            }
            (*in)[at] = true;
          }
        };
        std::vector<bool> in(kTokens);
        for (int t = kTokens - kWindow; t < kTokens; ++t) in[t] = true;
        best(score, &in, kBudget / 2 - kWindow);
        best(effect, &in, kBudget / 2);
        std::vector<int32_t> expected;
        for (int t = 0; t < kTokens; ++t) {
          if (in[t]) expected.push_back(t);
        }
        EXPECT_EQ(world.Kept(layer, h), expected) << "layer " << layer << " head " << h;
      }
    }
  }
}

}  // namespace
}  // namespace kvasir
