#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "kvasir/policy/policy_rig_testing.h"

namespace kvasir {
namespace {

using testing_policy::PolicyRig;
using testing_policy::RigSequence;

constexpr char kRecipe[] = "kvzip(40,system=4)";

std::vector<std::vector<int32_t>> AllHeld(const RigSequence& s) {
  std::vector<std::vector<int32_t>> held;
  for (int layer = 0; layer < s.cache->shape().n_layer; ++layer) {
    for (int h = 0; h < s.cache->shape().n_kv_head; ++h) held.push_back(s.Held(layer, h));
  }
  return held;
}

TEST(KvZip, ReplayLeavesTheCacheAsItWas) {
  PolicyRig rig;
  const auto tokens = PolicyRig::Tokens(150);
  RigSequence plain = rig.Start("exact"), zipped = rig.Start("kvzip(100%)");
  ASSERT_TRUE(rig.Prefill(plain, tokens, 64).ok());
  ASSERT_TRUE(rig.Prefill(zipped, tokens, 64).ok());
  EXPECT_EQ(zipped.cache->n_pos(), 150);
  EXPECT_EQ(zipped.cache->bytes(), plain.cache->bytes());
  EXPECT_EQ(zipped.logits, plain.logits);
  const auto more = PolicyRig::Tokens(5, 9);
  ASSERT_TRUE(rig.Decode(plain, more).ok());
  ASSERT_TRUE(rig.Decode(zipped, more).ok());
  EXPECT_EQ(zipped.logits, plain.logits);
}

TEST(KvZip, HoldsTheGlobalBudgetExactlyWithFloorsAndTheSystemPrompt) {
  PolicyRig rig;
  RigSequence s = rig.Start("kvzip(40,system=6,floor=0.5)");
  ASSERT_TRUE(rig.Prefill(s, PolicyRig::Tokens(200), 64).ok());
  EXPECT_EQ(s.TokensHeld(), 40 * 4);
  for (const auto& held : AllHeld(s)) {
    EXPECT_GE(held.size(), 20u);
    for (int32_t i = 0; i < 6; ++i) EXPECT_EQ(held[i], i);
  }
}

TEST(KvZip, KeepsTheSameTokensHoweverThePromptIsCut) {
  PolicyRig small("tiny-llama", 512, 7, 1), large("tiny-llama", 512, 512, 2);
  const auto tokens = PolicyRig::Tokens(200);
  RigSequence a = small.Start(kRecipe), b = large.Start(kRecipe);
  ASSERT_TRUE(small.Prefill(a, tokens, 7).ok());
  ASSERT_TRUE(large.Prefill(b, tokens, 200).ok());
  EXPECT_EQ(AllHeld(a), AllHeld(b));
}

// The largest weight of a second reading, from attention recomputed in doubles.
class MaxObserver final : public LayerObserver {
 public:
  MaxObserver(int32_t n_held, std::vector<std::vector<double>>* max) : n_held_(n_held), max_(max) {}
  bool WantsNorms(int) const override { return false; }
  Status AfterAttend(int layer, const LayerQueries& queries, SequenceCache& cache) override {
    const CacheShape& shape = cache.shape();
    const int d = shape.head_dim;
    for (int head = 0; head < shape.n_head; ++head) {
      const int kv_head = head / shape.group();
      const SegmentList& list = cache.list(layer, kv_head);
      std::vector<float> k(static_cast<size_t>(list.n_kv()) * d), v(k.size());
      KVASIR_RETURN_IF_ERROR(list.Decode(0, list.n_kv(), k.data(), v.data()));
      auto& max = (*max_)[static_cast<size_t>(layer) * shape.n_kv_head + kv_head];
      max.resize(static_cast<size_t>(n_held_));
      for (size_t i = 0; i < queries.pos.size(); ++i) {
        const float* q = queries.q + (static_cast<int64_t>(i) * shape.n_head + head) * d;
        std::vector<double> w(static_cast<size_t>(queries.pos[i]) + 1);
        double sum = 0;
        for (size_t t = 0; t < w.size(); ++t) {
          for (int j = 0; j < d; ++j) w[t] += double{q[j]} * k[t * d + j];
          sum += w[t] = std::exp(w[t] * queries.scale);
        }
        for (int32_t t = 0; t < n_held_; ++t) max[t] = std::max(max[t], w[t] / sum);
      }
    }
    return Status::Ok();
  }

 private:
  int32_t n_held_;
  std::vector<std::vector<double>>* max_;
};

TEST(KvZip, KeepsTheTokensOfLargestWeightInASecondReading) {
  PolicyRig rig;
  const auto tokens = PolicyRig::Tokens(120);
  // Every head's own best, so that head by head the definition can be checked.
  RigSequence s = rig.Start("score=replay budget=uniform:30");
  ASSERT_TRUE(rig.Prefill(s, tokens, 50).ok());
  SequenceCache cache(rig.shape(), TileFormat::kF16, TileFormat::kF16, rig.arena);
  ASSERT_TRUE(rig.forward->Run(tokens, cache, LogitsWanted::kNone, {}).ok());
  std::vector<std::vector<double>> max(4);
  MaxObserver observer(120, &max);
  ASSERT_TRUE(rig.forward->Run(tokens, cache, LogitsWanted::kNone, {}, &observer).ok());
  for (int i = 0; i < 4; ++i) {
    const std::vector<int32_t> held = s.Held(i / 2, i % 2);
    ASSERT_EQ(held.size(), 30u);
    double worst_kept = 1, best_dropped = 0;
    for (int32_t t = 0; t < 120; ++t) {
      const bool kept = std::ranges::binary_search(held, t);
      if (kept) worst_kept = std::min(worst_kept, max[i][t]);
      if (!kept) best_dropped = std::max(best_dropped, max[i][t]);
    }
    EXPECT_GE(worst_kept, best_dropped - 1e-5) << i;
  }
}

TEST(KvZip, SaysThatTheContextHasNoRoomForASecondReading) {
  PolicyRig rig("tiny-llama", 160);
  RigSequence s = rig.Start(kRecipe);
  const Status status = rig.Prefill(s, PolicyRig::Tokens(150), 64);
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("150 of 160"), std::string::npos) << status.message();
  EXPECT_EQ(s.cache->n_pos(), 150);
}

TEST(KvZip, ReadsTwiceInModelsWithSlidingWindows) {
  PolicyRig rig("tiny-gemma2");
  const auto tokens = PolicyRig::Tokens(150);
  RigSequence plain = rig.Start("exact"), zipped = rig.Start("kvzip(100%)"),
              cut = rig.Start("kvzip(20)");
  for (RigSequence* s : {&plain, &zipped, &cut}) ASSERT_TRUE(rig.Prefill(*s, tokens, 64).ok());
  EXPECT_EQ(zipped.logits, plain.logits);
  EXPECT_EQ(zipped.cache->bytes(), plain.cache->bytes());
  EXPECT_LT(cut.cache->bytes(), plain.cache->bytes());
}

}  // namespace
}  // namespace kvasir
