#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <set>

#include "kvasir/policy/keep.h"
#include "kvasir/policy/policy_testing.h"
#include "kvasir/policy/recipe.h"

namespace kvasir {
namespace {

template <typename T>
std::shared_ptr<const T> Make(PartKind kind, std::string_view name, const WrittenArgs& args = {}) {
  const PartInfo* info = FindPart(kind, name);
  return std::dynamic_pointer_cast<const T>(*info->make(*PartArgs::Make(name, info->params, args)));
}

TEST(Parts, AreNamedOnceAndMakeThemselves) {
  std::set<std::pair<PartKind, std::string_view>> seen;
  for (const PartInfo* info : Parts()) {
    EXPECT_TRUE(seen.emplace(info->kind, info->name).second) << info->name;
    EXPECT_EQ(FindPart(info->kind, info->name), info);
    EXPECT_FALSE(info->summary.empty()) << info->name;
    WrittenArgs args;
    for (const ParamInfo& param : info->params) {
      if (param.default_text.empty()) args.emplace_back(param.name, "1");
    }
    const auto written = PartArgs::Make(info->name, info->params, args);
    ASSERT_TRUE(written.ok()) << written.status().ToString();
    EXPECT_TRUE(info->make(*written).ok()) << info->name;
  }
}

std::vector<float> Shaped(std::string_view name, const char* size, const std::vector<float>& in) {
  std::vector<float> out(in.size());
  Make<Shaper>(PartKind::kShape, name, {{"", size}})->Shape(in, out);
  return out;
}

TEST(Shaper, PoolsOverTheTokensThatAreThere) {
  const std::vector<float> in = {3, 0, 0, 6, 9};
  EXPECT_EQ(Shaped("avgpool", "3", in), (std::vector<float>{1.5f, 1, 2, 5, 7.5f}));
  EXPECT_EQ(Shaped("maxpool", "3", in), (std::vector<float>{3, 3, 6, 9, 9}));
  EXPECT_EQ(Shaped("chunks", "2", in), (std::vector<float>{1.5f, 1.5f, 3, 3, 9}));
  for (const char* name : {"avgpool", "maxpool", "chunks"}) EXPECT_EQ(Shaped(name, "1", in), in);
  EXPECT_EQ(Shaped("maxpool", "255", {}), std::vector<float>{});
}

TEST(KeepRule, TakesTheLowerPositionAmongEquals) {
  const std::vector<float> score = {1, 2, 2, 2, NAN, 0};
  const std::vector<uint8_t> flags = {0, 0, 0, 0, 0, 1};
  EXPECT_EQ(KeepBest({score, flags, 3}), (std::vector<int32_t>{1, 2, 5}));
  EXPECT_EQ(KeepBest({score, flags, 5}), (std::vector<int32_t>{0, 1, 2, 3, 5}));
  EXPECT_EQ(KeepBest({score, flags, 6}), (std::vector<int32_t>{0, 1, 2, 3, 4, 5}));
}

TEST(KeepRule, FillsEveryBudgetExactly) {
  std::mt19937 rng(3);
  for (const char* name : {"topk", "pooled"}) {
    const auto rule = Make<KeepRule>(PartKind::kKeep, name);
    for (int trial = 0; trial < 200; ++trial) {
      const int n_cell = 1 + static_cast<int>(rng() % 4);
      std::vector<std::vector<float>> score(n_cell);
      std::vector<std::vector<uint8_t>> flags(n_cell);
      std::vector<KeepCell> cells;
      int64_t total = 0;
      for (int c = 0; c < n_cell; ++c) {
        const int n = static_cast<int>(rng() % 60);
        int64_t n_protected = 0;
        for (int t = 0; t < n; ++t) {
          score[c].push_back(static_cast<float>(rng() % 10));
          flags[c].push_back(rng() % 8 == 0);
          n_protected += flags[c].back();
        }
        const int64_t budget = n_protected + static_cast<int64_t>(rng() % (n - n_protected + 1));
        cells.push_back({score[c], flags[c], budget});
        total += budget;
      }
      const auto kept = rule->Select(cells);
      int64_t n_kept = 0;
      for (int c = 0; c < n_cell; ++c) {
        n_kept += static_cast<int64_t>(kept[c].size());
        ASSERT_TRUE(std::is_sorted(kept[c].begin(), kept[c].end()));
        const std::set<int32_t> in(kept[c].begin(), kept[c].end());
        ASSERT_EQ(in.size(), kept[c].size());
        for (size_t t = 0; t < flags[c].size(); ++t) {
          ASSERT_TRUE(!flags[c][t] || in.count(static_cast<int32_t>(t)));
        }
      }
      ASSERT_EQ(n_kept, total) << name;
    }
  }
}

TEST(KeepRule, DropsWhatIsBelowAThreshold) {
  const auto rule = Make<KeepRule>(PartKind::kKeep, "threshold", {{"", "0.5"}});
  const std::vector<float> score = {0.4f, 0.5f, 0.9f, 0.1f};
  const std::vector<uint8_t> flags = {0, 0, 0, 1};
  EXPECT_EQ(rule->Select(std::vector<KeepCell>{{score, flags, 4}})[0],
            (std::vector<int32_t>{1, 2, 3}));
  EXPECT_EQ(rule->Select(std::vector<KeepCell>{{score, flags, 2}})[0],
            (std::vector<int32_t>{2, 3}));
}

TEST(GroupReducer, FoldsTheRowsOfAGroup) {
  for (const auto& [name, expected] : {std::pair{"mean", 2.0f}, {"sum", 4.0f}, {"max", 3.0f}}) {
    LayerScores scores = {HeadScores(2, 1)};
    scores[0].at = {1, 3};
    ASSERT_TRUE(Make<GroupReducer>(PartKind::kReduce, name)->Reduce(&scores).ok());
    EXPECT_EQ(scores[0].n_row, 1);
    EXPECT_EQ(scores[0].at, std::vector<float>{expected}) << name;
  }
  LayerScores scores = {HeadScores(2, 1), HeadScores(2, 1), HeadScores()};
  scores[0].at = {1, 3};
  scores[1].at = {5, 7};
  ASSERT_TRUE(Make<GroupReducer>(PartKind::kReduce, "all")->Reduce(&scores).ok());
  EXPECT_EQ(scores[0].at, std::vector<float>{4});
  EXPECT_EQ(scores[1].at, std::vector<float>{4});
  EXPECT_TRUE(scores[2].at.empty());
  scores = {HeadScores(1, 1), HeadScores(1, 2)};
  EXPECT_FALSE(Make<GroupReducer>(PartKind::kReduce, "all")->Reduce(&scores).ok());
}

// --- signals ---

TEST(SignalTap, SumsColumnsAsTheExplicitMatrixDoes) {
  uint32_t seed = 0;
  for (const auto& [group, d] : {std::pair{1, 16}, {2, 64}, {4, 80}, {8, 256}}) {
    const CacheShape shape = {1, group * 2, 2, d, {0}};
    std::vector<std::vector<float>> first;
    for (int chunk : {100, 1, 13}) {
      PolicyWorld world(shape, "h2o:1000+f32", RandomLayers(shape, 100, 77 + seed), chunk % 3 + 1);
      ASSERT_TRUE(world.Prefill(100, chunk).ok());
      for (int head = 0; head < shape.n_head; ++head) {
        std::vector<double> sum(100);
        for (int i = 0; i < 100; ++i) {
          const auto weights = world.ExactWeights(0, i, head, [](int) { return true; });
          for (int t = 0; t < 100; ++t) sum[t] += weights[t];
        }
        const auto got = world.run().tap().column_sums(0, head / group, head % group);
        double total = 0;
        for (int t = 0; t < 100; ++t) {
          ASSERT_NEAR(got[t], sum[t], 1e-5);
          total += got[t];
        }
        EXPECT_NEAR(total, 100, 1e-3);  // as many queries as were seen
        if (chunk == 100) first.emplace_back(got.begin(), got.end());
        EXPECT_TRUE(std::equal(got.begin(), got.end(), first[head].begin())) << "chunk " << chunk;
      }
    }
    ++seed;
  }
}

// --- recipes that cannot work ---

std::string Refusal(const std::string& text, bool has_outputs = false) {
  const auto recipe = Recipe::Parse(text);
  if (!recipe.ok()) return recipe.status().message();
  PolicyTarget target = {.shape = {2, 4, 2, 64, {0, 0}}};
  if (has_outputs) GiveOutputs(target.shape, &target);
  const auto policy = KvPolicy::Compile(*recipe, target);
  return policy.ok() ? "" : policy.status().message();
}

TEST(KvPolicy, RefusesWhatCannotWorkWithTheReason) {
  EXPECT_EQ(Refusal("score=knorm"),
            "recipe: score=knorm ranks tokens, but no budget= says how many stay");
  EXPECT_EQ(Refusal("budget=64"),
            "recipe: budget=uniform(tokens=64) limits what is held, but no score= says which "
            "tokens stay");
  EXPECT_EQ(Refusal("keep=topk"),
            "recipe: keep=topk has nothing to act on: nothing is evicted without score= and "
            "budget=, or heads=");
  EXPECT_EQ(Refusal("heads=equal"),
            "recipe: heads=equal leaves heads to be scored, but there is no score=");
  EXPECT_EQ(Refusal("snapkv:16"),
            "recipe: budget=uniform(tokens=16) is below the 32 tokens that always stay "
            "(score=window keeps 32)");
  EXPECT_EQ(Refusal("random(30,8,30)"),
            "recipe: budget=uniform(tokens=30) is below the 38 tokens that always stay "
            "(protect=sinks(n=8),recent(n=30))");
  EXPECT_EQ(Refusal("h2o+kivi:2"),
            "recipe: k=kivi and schedule=steps cannot work together: the codec encodes tokens "
            "together and cannot give up single ones later");
  EXPECT_EQ(Refusal("score=columns budget=64 schedule=chunks"),
            "recipe: score=columns and schedule=chunks cannot work together: sums over all queries "
            "lose their meaning when tokens go before the queries came");
  EXPECT_EQ(Refusal("score=window(1) reduce=all budget=64 keep=pooled"),
            "recipe: reduce=all and keep=pooled cannot work together: one set of tokens for all "
            "heads leaves no heads to tell apart");
  EXPECT_EQ(Refusal("k=mikv"),
            "recipe: k=mikv needs to know which tokens matter: add score= and a budget=, which may "
            "be 100%");
  EXPECT_EQ(Refusal("criticalkv:64"),
            "recipe: keep=critical needs the output projections of a model");
  EXPECT_EQ(Refusal("score=keydiff budget=64 keep=critical", true),
            "recipe: keep=critical and score=keydiff cannot work together: only scores that are "
            "shares of attention can be multiplied by what values do");
  EXPECT_EQ(Refusal("score=window(1) reduce=all budget=64 keep=critical", true),
            "recipe: reduce=all and keep=critical cannot work together: one set of tokens for all "
            "heads leaves no heads to tell apart");
  EXPECT_EQ(Refusal("score=knorm budget=64 protect=special"),
            "recipe: protect=special needs a vocabulary");
}

TEST(KvPolicy, TakesEveryPresetAndSaysWhatItDoes) {
  for (const PresetInfo* preset : Presets()) {
    for (const char* more : {"", "+q8_0", "+quest:64"}) {
      const auto recipe = Recipe::Parse(std::string(preset->name) + more);
      ASSERT_TRUE(recipe.ok()) << recipe.status().ToString();
      PolicyTarget target = {.shape = {2, 4, 2, 64, {0, 0}},
                             .is_special = [](TokenId) { return false; }};
      GiveOutputs(target.shape, &target);
      const auto policy = KvPolicy::Compile(*recipe, target);
      // Roles that were measured on a model come from a file.
      if (policy.status().message().find("needs a head table") != std::string::npos) continue;
      ASSERT_TRUE(policy.ok()) << preset->name << more << ": " << policy.status().ToString();
      EXPECT_FALSE((*policy)->Explain().empty());
      EXPECT_GT((*policy)->bytes_per_token(), 0);
    }
  }
}

}  // namespace
}  // namespace kvasir
