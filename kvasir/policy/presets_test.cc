#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "kvasir/policy/policy_rig_testing.h"

namespace kvasir {
namespace {

using testing_policy::PolicyRig;
using testing_policy::RigSequence;

struct Case {
  const char* name;
  const char* ample;  // a budget that holds everything
  const char* tight;
};
constexpr Case kCases[] = {
    {"streaming", "streaming:1000", "streaming:48"},
    {"random", "random:1000", "random:48"},
    {"knorm", "knorm:1000", "knorm:48"},
    {"tova", "tova:1000", "tova:48"},
    {"h2o", "h2o(1000,recent=16)", "h2o(48,recent=16)"},
    {"snapkv", "snapkv:1000", "snapkv:48"},
    {"pyramidkv", "pyramidkv:1000", "pyramidkv:48"},
    {"adakv", "adakv:1000", "adakv:48"},
    {"criticalkv", "criticalkv:1000", "criticalkv:48"},
    {"keydiff", "keydiff:1000", "keydiff(48,recent=8)"},
    {"chunkkv", "chunkkv:1000", "chunkkv:48"},
    {"cake", "cake(1000,window=8)", "cake(48,window=8)"},
    {"kvzip", "kvzip:1000", "kvzip:48"},
    {"d2o", "d2o(1000,recent=16)", "d2o(48,recent=16)"},
    {"razor", "razor(0,0,least=1000)", "razor(0,0,least=16,percent=10)"},
    {"duo", "duo(0,64,1000)", "duo(0,4,32)"},
    {"vmerge", "snapkv(1000,window=8)+vmerge", "snapkv(48,window=8)+vmerge"},
    {"d2o_keys", "d2o(1000,recent=16,keys)", "d2o(48,recent=16,keys)"},
    {"tiered", "tiered(1000,q8_0,recent=16)", "tiered(48,q8_0,recent=16)"},
};

class Preset : public testing::TestWithParam<Case> {};

TEST_P(Preset, WithABudgetForEverythingChangesNoBit) {
  PolicyRig rig;
  const auto tokens = PolicyRig::Tokens(200), more = PolicyRig::Tokens(20, 3);
  RigSequence exact = rig.Start("exact"), ample = rig.Start(GetParam().ample);
  for (RigSequence* s : {&exact, &ample}) {
    ASSERT_TRUE(rig.Prefill(*s, tokens, 64).ok());
    ASSERT_TRUE(rig.Decode(*s, more).ok());
  }
  EXPECT_EQ(ample.logits, exact.logits);
  EXPECT_EQ(ample.cache->bytes(), exact.cache->bytes());
}

TEST_P(Preset, ReallyFreesBytesAndRepeatsItself) {
  PolicyRig rig;
  const auto tokens = PolicyRig::Tokens(320), more = PolicyRig::Tokens(40, 3);
  std::vector<float> logits;
  {
    RigSequence exact = rig.Start("exact");
    ASSERT_TRUE(rig.Prefill(exact, tokens, 64).ok());
    ASSERT_TRUE(rig.Decode(exact, more).ok());
    const int64_t all = rig.arena.used_bytes();
    exact = {};
    ASSERT_EQ(rig.arena.used_bytes(), 0);
    RigSequence tight = rig.Start(GetParam().tight);
    ASSERT_TRUE(rig.Prefill(tight, tokens, 64).ok());
    ASSERT_TRUE(rig.Decode(tight, more).ok());
    EXPECT_LT(rig.arena.used_bytes(), all * 3 / 4);
    EXPECT_GT(tight.run->n_evicted(), 0);
    EXPECT_EQ(tight.cache->n_pos(), 360);
    for (float x : tight.logits) ASSERT_TRUE(std::isfinite(x));
    logits = tight.logits;
  }
  PolicyRig other("tiny-llama", 512, 512, 1);  // another number of threads
  RigSequence again = other.Start(GetParam().tight);
  ASSERT_TRUE(other.Prefill(again, tokens, 64).ok());
  ASSERT_TRUE(other.Decode(again, more).ok());
  EXPECT_EQ(again.logits, logits);
}

TEST_P(Preset, ForksGoOnAsTheirOriginals) {
  PolicyRig rig;
  RigSequence s = rig.Start(GetParam().tight), fork;
  ASSERT_TRUE(rig.Prefill(s, PolicyRig::Tokens(150), 64).ok());
  fork.policy = s.policy;
  fork.cache = std::move(*s.cache->Fork());
  fork.run = std::move(*s.run->Fork());
  const auto more = PolicyRig::Tokens(40, 3);
  ASSERT_TRUE(rig.Decode(s, more).ok());
  ASSERT_TRUE(rig.Decode(fork, more).ok());
  EXPECT_EQ(fork.logits, s.logits);
  EXPECT_EQ(fork.Held(1, 1), s.Held(1, 1));
}

TEST(Presets, EveryOneIsTested) {
  for (const PresetInfo* preset : Presets()) {
    if (preset->name == "exact") continue;  // what the others are held against
    EXPECT_TRUE(std::ranges::any_of(kCases, [&](const Case& c) { return preset->name == c.name; }))
        << preset->name;
  }
}

INSTANTIATE_TEST_SUITE_P(All, Preset, testing::ValuesIn(kCases),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(Composition, OfEvictionAndCodecsFreesMoreBytes) {
  PolicyRig rig;
  const auto tokens = PolicyRig::Tokens(400), more = PolicyRig::Tokens(40, 3);
  for (const char* eviction :
       {"cake(192,window=8)", "kvzip:192", "chunkkv:192", "snapkv(192,window=8)+vmerge"}) {
    int64_t bytes[2] = {};
    for (int coded = 0; coded < 2; ++coded) {
      RigSequence s = rig.Start(std::string(eviction) + (coded ? "+kivi:2" : ""));
      ASSERT_TRUE(rig.Prefill(s, tokens, 128).ok()) << eviction;
      ASSERT_TRUE(rig.Decode(s, more).ok()) << eviction;
      for (float x : s.logits) ASSERT_TRUE(std::isfinite(x)) << eviction;
      bytes[coded] = s.cache->bytes();
    }
    EXPECT_LT(bytes[1], bytes[0] * 9 / 10) << eviction;
  }
}

TEST(Composition, OfMergesThatRepeatWithCodecsThatCannotGiveUpTokensIsRefused) {
  PolicyRig rig;
  const auto policy = rig.Compile("d2o:48+kivi:2");
  ASSERT_FALSE(policy.ok());
  EXPECT_NE(policy.status().message().find("schedule=steps"), std::string::npos)
      << policy.status().message();
}

TEST(Composition, OfTwoDispositionsIsRefused) {
  const auto recipe = Recipe::Parse("d2o:48+vmerge");
  ASSERT_FALSE(recipe.ok());
  EXPECT_NE(recipe.status().message().find("vmerge"), std::string::npos);
}

// In the paper what was merged is no heavier than what it was merged into. The logarithm of the
// count on the logit, which other merges add, doubles what the preset loses.
TEST(D2o, CountsAMergedTokenOnce) {
  PolicyRig rig;
  RigSequence d2o = rig.Start("d2o(48,recent=16)"), other = rig.Start("snapkv(48,window=8)+vmerge");
  for (RigSequence* s : {&d2o, &other}) {
    ASSERT_TRUE(rig.Prefill(*s, PolicyRig::Tokens(320), 64).ok());
  }
  EXPECT_GT(d2o.run->n_evicted(), 0);
  EXPECT_EQ(d2o.cache->list(1, 0).tail().bias(), nullptr);
  EXPECT_NE(other.cache->list(1, 0).tail().bias(), nullptr);
}

TEST(Demotion, OfAPromptHoldsEveryTokenInFewerBytes) {
  PolicyRig rig;
  const auto tokens = PolicyRig::Tokens(400);
  RigSequence exact = rig.Start("exact"), tiered = rig.Start("tiered(20%,kivi:2,recent=16)");
  ASSERT_TRUE(rig.Prefill(exact, tokens, 128).ok());
  ASSERT_TRUE(rig.Prefill(tiered, tokens, 128).ok());
  EXPECT_EQ(tiered.TokensHeld(), exact.TokensHeld());
  EXPECT_LT(tiered.cache->bytes(), exact.cache->bytes() * 2 / 3);
}

}  // namespace
}  // namespace kvasir
