// What the papers' methods must satisfy, where no other test says it: on random layers of every
// group size.
#include <gtest/gtest.h>

#include <numeric>

#include "kvasir/policy/policy_testing.h"

namespace kvasir {
namespace {

constexpr int kTokens = 160;

CacheShape Shape(int group, int n_layer = 2) {
  return {n_layer, 2 * group, 2, 32, std::vector<int32_t>(n_layer, 0)};
}

// What each list holds after a prompt and a few generated tokens.
std::vector<std::vector<int32_t>> KeptBy(const std::string& recipe, const CacheShape& shape) {
  PolicyWorld world(shape, recipe, RandomLayers(shape, kTokens, 11), 2);
  EXPECT_TRUE(world.Prefill(kTokens - 10, 64).ok()) << recipe;
  EXPECT_TRUE(world.Decode(9).ok()) << recipe;
  std::vector<std::vector<int32_t>> kept;
  for (int layer = 0; layer < shape.n_layer; ++layer) {
    for (int h = 0; h < shape.n_kv_head; ++h) kept.push_back(world.Kept(layer, h));
  }
  return kept;
}

TEST(CardInvariants, AKernelOfOneDoesNotPool) {
  for (int group : {1, 2, 4, 8}) {
    const std::string score = "score=window(8) budget=40";
    EXPECT_EQ(KeptBy(score + " shape=maxpool(1)", Shape(group)), KeptBy(score, Shape(group)));
    EXPECT_EQ(KeptBy(score + " shape=avgpool(1)", Shape(group)), KeptBy(score, Shape(group)));
    EXPECT_NE(KeptBy(score + " shape=maxpool(7)", Shape(group)), KeptBy(score, Shape(group)));
  }
}

TEST(CardInvariants, ReducersOfOneHeadAgree) {
  const std::string score = "score=window(8) budget=40 reduce=";
  EXPECT_EQ(KeptBy(score + "mean", Shape(1)), KeptBy(score + "sum", Shape(1)));
  EXPECT_EQ(KeptBy(score + "mean", Shape(1)), KeptBy(score + "max", Shape(1)));
  EXPECT_NE(KeptBy(score + "mean", Shape(8)), KeptBy(score + "max", Shape(8)));
}

TEST(CardInvariants, ColumnSumsAddUpToTheQueriesSeen) {
  for (int group : {1, 2, 4, 8}) {
    const CacheShape shape = Shape(group);
    PolicyWorld world(shape, "h2o(budget=1000,recent=8)", RandomLayers(shape, kTokens, 12), 2);
    ASSERT_TRUE(world.Prefill(100, 33).ok());
    ASSERT_TRUE(world.Decode(20).ok());
    for (int h = 0; h < shape.n_kv_head; ++h) {
      for (int g = 0; g < group; ++g) {
        const auto sums = world.run().tap().column_sums(1, h, g);
        EXPECT_NEAR(std::accumulate(sums.begin(), sums.end(), 0.0), 120, 1e-3);
      }
    }
  }
}

TEST(CardInvariants, AThresholdThatNothingMeetsMakesMergingDropping) {
  for (int group : {1, 4}) {
    const CacheShape shape = Shape(group);
    const std::string keeps = "score=columns budget=d2o:40 protect=recent(8) disposition=";
    const auto layers = RandomLayers(shape, kTokens, 13);
    PolicyWorld merged(shape, keeps + "d2o(least=2)", layers),
        dropped(shape, keeps + "drop", layers);
    for (PolicyWorld* world : {&merged, &dropped}) ASSERT_TRUE(world->Prefill(150, 64).ok());
    EXPECT_GT(merged.run().n_evicted(), 0);
    for (int layer = 0; layer < shape.n_layer; ++layer) {
      for (int h = 0; h < 2; ++h) EXPECT_EQ(merged.Kept(layer, h), dropped.Kept(layer, h));
      EXPECT_EQ(merged.Attend(layer, 150), dropped.Attend(layer, 150));
    }
  }
}

TEST(CardInvariants, StreamingHeadsThatSeeEverythingAreAsAllOthers) {
  const CacheShape shape = Shape(2);
  PolicyTarget target;
  target.probe_heads = [&]() -> Result<HeadTable> {
    const std::vector<float> scores = {0.9f, 0.1f, 0.2f, 0.8f, 0.3f, 0.4f, 0.7f, 0.05f};
    return HeadTable{"", shape.n_layer, shape.n_head, shape.n_kv_head, scores, scores, scores};
  };
  const auto layers = RandomLayers(shape, kTokens, 14);
  PolicyWorld exact(shape, "exact", layers), duo(shape, "duo(25,64,1000)", layers, 2, target);
  PolicyWorld tight(shape, "duo(25,4,16)", layers, 2, target);
  for (PolicyWorld* world : {&exact, &duo, &tight}) {
    ASSERT_TRUE(world->Prefill(120, 50).ok());
    ASSERT_TRUE(world->Decode(20).ok());
  }
  EXPECT_GT(tight.run().n_evicted(), 0);
  for (int layer = 0; layer < shape.n_layer; ++layer) {
    EXPECT_EQ(duo.Attend(layer, 140), exact.Attend(layer, 140));
    EXPECT_NE(tight.Attend(layer, 140), exact.Attend(layer, 140));
  }
}

}  // namespace
}  // namespace kvasir
