// What the parts of kind prefill choose, against their definitions.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "kvasir/cache/prefill_world_testing.h"
#include "kvasir/core/isa.h"
#include "kvasir/policy/policy_testing.h"
#include "kvasir/policy/prefill_rule.h"

namespace kvasir {
namespace {

std::shared_ptr<const PrefillMask> Make(std::string_view name, const WrittenArgs& args = {}) {
  const PartInfo* info = FindPart(PartKind::kPrefill, name);
  EXPECT_NE(info, nullptr) << name;
  const auto checked = PartArgs::Make(name, info->params, args);
  EXPECT_TRUE(checked.ok()) << checked.status().ToString();
  auto part = info->make(*checked);
  EXPECT_TRUE(part.ok()) << part.status().ToString();
  return std::dynamic_pointer_cast<const PrefillRule>(std::move(*part));
}

CacheShape Shape(int group, int head_dim) { return {1, 2 * group, 2, head_dim, {0}}; }

// Every part with arguments that leave something out of a short prompt.
struct Case {
  std::string name;
  WrittenArgs args;
};
std::vector<Case> Cases() {
  return {{"xattention", {{"tau", "0.4"}}},
          {"xattention", {{"tau", "0.95"}, {"stride", "8"}, {"most", "40%"}}},
          {"minference", {{"vertical", "64"}, {"slash", "160"}}},
          {"minference", {{"vertical", "20%"}, {"slash", "0"}, {"queries", "50"}}},
          {"ashape", {{"sinks", "20"}, {"recent", "200"}}}};
}

TEST(Prefill, EveryPartOfTheTableIsTested) {
  for (const std::string_view name : PartNames(PartKind::kPrefill)) {
    const auto cases = Cases();
    EXPECT_TRUE(std::ranges::any_of(cases, [&](const Case& c) { return c.name == name; })) << name;
  }
}

TEST(Prefill, OutputIsAttentionOverWhatWasChosen) {
  uint32_t seed = 50;
  for (const Case& c : Cases()) {
    for (const auto& [group, d] : {std::pair{1, 64}, {2, 16}, {4, 128}, {8, 32}}) {
      PrefillWorld world(Shape(group, d), 600, ++seed);
      const auto mask = Make(c.name, c.args);
      const std::vector<float> out = world.Read(mask, 256);
      const std::vector<double> expected = world.Define(world.marks(), mask->unit_tokens());
      EXPECT_LT(world.reads().share(), 0.96) << c.name;
      for (size_t i = 0; i < out.size(); ++i) {
        ASSERT_TRUE(std::abs(out[i] - expected[i]) <= 2e-5) << c.name << " at " << i;
      }
    }
  }
}

TEST(Prefill, ChunksThreadsAndIsasChangeNoBit) {
  const Isa isa = ActiveIsa();
  for (const Case& c : Cases()) {
    PrefillWorld world(Shape(4, 64), 1000, 70);
    const auto mask = Make(c.name, c.args);
    const std::vector<float> expected = world.Read(mask, 1000, 1);
    const PrefillMarks marks = world.marks();
    for (int chunk : {128, 256, 512}) {
      for (int n_thread : {1, 2, 9}) {
        ASSERT_EQ(world.Read(mask, chunk, n_thread), expected) << c.name << " " << chunk;
        ASSERT_EQ(world.marks(), marks);
      }
    }
    for (Isa other : RunnableIsas()) {
      ForceIsa(other);
      ASSERT_EQ(world.Read(mask, 512), expected) << c.name << " " << IsaName(other);
    }
    ForceIsa(isa);
  }
}

TEST(Prefill, BudgetsForEverythingChangeNoBit) {
  PrefillWorld world(Shape(2, 64), 900, 80);
  const std::vector<float> exact = world.Read(nullptr, 256);
  for (const Case& c : std::vector<Case>{{"xattention", {{"tau", "1"}}},
                                         {"minference", {{"vertical", "100%"}}},
                                         {"ashape", {}}}) {
    EXPECT_EQ(world.Read(Make(c.name, c.args), 256), exact) << c.name;
    EXPECT_EQ(world.reads().share(), 1.0) << c.name;
  }
}

TEST(Prefill, KeysThatAreNotNumbersAreRead) {
  for (const Case& c : Cases()) {
    if (c.name == "ashape") continue;  // looks at no key
    PrefillWorld world(Shape(1, 32), 600, 85);
    world.k(300, 0)[5] = NAN;
    world.Read(Make(c.name, c.args), 256);
    for (const auto& [block, marks] : world.marks()) {
      if (block.first < 384 || block.second != 0) continue;
      EXPECT_EQ(std::count(marks.begin(), marks.end(), 0), 0) << c.name << " " << block.first;
    }
  }
}

// --- XAttention ---

// Mass of every block of keys for the block of queries at `pos`, by the formula: logits of groups
// of `stride` are means along anti-diagonals, in f64.
std::vector<double> AntiDiagonalMass(const PrefillWorld& world, int32_t pos, int head, int stride) {
  const int kv_head = head / world.shape().group(), d = world.shape().head_dim;
  const int end = std::min(pos + kPrefillBlock, world.n_token());
  std::vector<std::vector<double>> keys;
  for (int t = 0; t < end; ++t) keys.push_back(world.HeldKey(t, kv_head));
  std::vector<double> mass(static_cast<size_t>(pos / kPrefillBlock) + 1);
  for (int group = pos / stride; group * stride < end; ++group) {
    std::vector<double> logits;
    double max = -1e300, sum = 0;
    for (int of_keys = 0; of_keys <= group; ++of_keys) {
      double logit = 0;
      for (int r = 0; r < stride; ++r) {
        const float* q = world.q(group * stride + stride - 1 - r, head);
        for (int j = 0; j < d; ++j) logit += q[j] * keys[of_keys * stride + r][j];
      }
      logits.push_back(logit * world.scale() / stride);
      max = std::max(max, logits.back());
    }
    for (double& x : logits) sum += x = std::exp(x - max);
    for (size_t i = 0; i < logits.size(); ++i) {
      mass[std::min(i * stride, size_t(pos)) / kPrefillBlock] += logits[i] / sum;
    }
  }
  return mass;
}

TEST(XAttention, ReadsTheSmallestSetThatHoldsTheMass) {
  uint32_t seed = 100;
  for (int stride : {16, 8}) {
    for (const auto& [group, d] : {std::pair{1, 64}, {2, 128}, {4, 16}, {8, 80}, {3, 32}}) {
      for (const char* tau : {"0.5", "0.9"}) {
        PrefillWorld world(Shape(group, d), 1152, ++seed, 30);
        const size_t n_local = seed % 2;
        world.Read(Make("xattention", {{"tau", tau},
                                       {"stride", std::to_string(stride)},
                                       {"local", std::to_string(128 * n_local)}}),
                   512);
        EXPECT_EQ(world.marks().size(), 8u * 2 * group);
        for (const auto& [block, marks] : world.marks()) {
          const auto mass = AntiDiagonalMass(world, block.first, block.second, stride);
          ASSERT_EQ(marks.size() + 1, mass.size());
          double total = 0, covered = mass.back(), least_read = 1e300, most_left = 0;
          for (double m : mass) total += m;
          EXPECT_NEAR(total, kPrefillBlock / stride, 1e-9);
          int n_chosen = 0;  // besides what is forced
          for (size_t u = 0; u < marks.size(); ++u) {
            if (marks[u]) covered += mass[u];
            if (u == 0 || u + n_local >= marks.size()) {
              EXPECT_EQ(marks[u], 1);
            } else if (marks[u]) {
              least_read = std::min(least_read, mass[u]);
              ++n_chosen;
            } else {
              most_left = std::max(most_left, mass[u]);
            }
          }
          const double wanted = std::stod(tau) * total, eps = 1e-3;
          EXPECT_TRUE(covered >= wanted - eps) << covered << " of " << wanted;
          EXPECT_TRUE(least_read >= most_left - eps);
          if (n_chosen > 0) {
            EXPECT_TRUE(covered - least_read < wanted + eps);
          }
        }
      }
    }
  }
}

TEST(XAttention, FindsABlockThatHoldsNearlyAllMass) {
  for (int needle : {140, 333, 700, 1000}) {
    PrefillWorld world(Shape(2, 64), 1280, 120, 0);
    // A phrase of 16 tokens that the last block's queries repeat, in head 1 only.
    for (int t = 0; t < 16; ++t) {
      for (int j = 0; j < 64; ++j) {
        world.k(needle + t, 0)[j] = 2 * std::sin(static_cast<float>(j * 7 + 1));
      }
    }
    for (int t = 1152; t < 1280; ++t) {
      for (int j = 0; j < 64; ++j) world.q(t, 1)[j] = 4 * std::sin(static_cast<float>(j * 7 + 1));
    }
    world.Read(Make("xattention", {{"most", "40%"}}), 512);
    const std::vector<uint8_t>& marks = world.marks().at({1152, 1});
    EXPECT_EQ(marks[static_cast<size_t>(needle / 128)], 1) << needle;
    EXPECT_LE(std::count(marks.begin(), marks.end(), 1), 3) << needle;
  }
}

TEST(XAttention, ReadsNoMoreThanMost) {
  PrefillWorld world(Shape(2, 64), 1536, 130, 0);  // flat: the mass asks for most blocks
  const auto read = [&](const char* most, int64_t local, const auto& expected) {
    world.Read(Make("xattention", {{"most", most}, {"local", std::to_string(local)}}), 512);
    for (const auto& [block, marks] : world.marks()) {
      const auto n = static_cast<int64_t>(marks.size());
      EXPECT_EQ(std::count(marks.begin(), marks.end(), 1), std::min<int64_t>(n, expected(n)))
          << most << " of " << n;
      EXPECT_EQ(marks.front(), 1);
      EXPECT_TRUE(local == 0 || marks.back() == 1);
    }
  };
  read("25%", 0, [](int64_t n) { return std::max<int64_t>(1, n / 4); });
  read("25%", 128, [](int64_t n) { return std::max<int64_t>(2, n / 4); });
  read("400", 128, [](int64_t) { return 3; });
  read("1", 0, [](int64_t) { return 1; });
  read("1", 200, [](int64_t) { return 3; });
}

TEST(XAttention, EverySoShortEndOfAPromptMeetsEveryKey) {
  // Two tokens behind a block look for one key each, wherever it stands in its group.
  for (int needle : {256, 259, 263, 270, 271}) {
    PrefillWorld world(Shape(1, 64), 642, 140, 0);
    for (int t : {640, 641}) {
      for (int j = 0; j < 64; ++j) world.q(t, 0)[j] = 40 * world.k(needle, 0)[j];
    }
    for (int j = 0; j < 64; ++j) world.k(needle, 0)[j] *= 4;  // above the noise of 16 means
    world.Read(Make("xattention", {{"most", "60%"}}), 128);
    EXPECT_EQ(world.marks().at({640, 0})[2], 1) << needle;
  }
}

TEST(XAttention, ChoosesByTheKeysAsTheyAreStored) {
  const CacheShape shape = Shape(4, 64);
  const auto layers = RandomLayers(shape, 1000, 9);
  for (const char* codec : {"q8_0", "int4h", "kivi:2"}) {
    PolicyWorld plain(shape, codec, layers),
        whole(shape, std::string(codec) + " xattention:1", layers),
        part(shape, std::string(codec) + " prefill=xattention(0.9,most=30%)", layers);
    for (PolicyWorld* world : {&plain, &whole, &part}) {
      world->KeepAttended();
      ASSERT_TRUE(world->Prefill(1000, 256).ok()) << codec;
    }
    EXPECT_EQ(whole.attended(), plain.attended()) << codec;
    EXPECT_NE(part.attended(), plain.attended()) << codec;
    for (float x : part.attended()) ASSERT_TRUE(std::isfinite(x)) << codec;
  }
}

TEST(XAttention, KnowsTokensThatAForgottenTailLeftBehind) {
  const CacheShape shape = Shape(2, 64);
  const auto layers = RandomLayers(shape, 900, 10);
  PolicyWorld fresh(shape, "exact xattention:0.5", layers),
      rewound(shape, "exact xattention:0.5", layers);
  for (PolicyWorld* world : {&fresh, &rewound}) world->KeepAttended();
  ASSERT_TRUE(fresh.Prefill(384, 384).ok());
  ASSERT_TRUE(fresh.Prefill(200, 200).ok());
  ASSERT_TRUE(rewound.Prefill(384, 384).ok());
  ASSERT_TRUE(rewound.Prefill(301, 301).ok());
  ASSERT_TRUE(rewound.Rewind(384).ok());
  ASSERT_TRUE(rewound.Prefill(200, 200).ok());
  const size_t n = 200 * 4 * 64;
  ASSERT_EQ(fresh.attended().size(), (384 + 200) * 4 * 64u);
  EXPECT_TRUE(
      std::equal(fresh.attended().end() - n, fresh.attended().end(), rewound.attended().end() - n));
}

// --- MInference ---

TEST(MInference, ReadsAsManyTokensAsItIsTold) {
  for (int queries : {16, 64}) {
    PrefillWorld world(Shape(2, 64), 1536, 150);
    world.Read(Make("minference",
                    {{"vertical", "160"}, {"slash", "400"}, {"queries", std::to_string(queries)}}),
               512);
    for (const auto& [block, marks] : world.marks()) {
      const auto n_read = std::count(marks.begin(), marks.end(), 1);
      const auto n = static_cast<int64_t>(marks.size());
      // Columns, diagonals, and what is forced.
      EXPECT_LE(n_read, 10 + 25 + 4);
      EXPECT_GE(n_read, std::min<int64_t>(n, 10));
      EXPECT_EQ(marks[0] + marks[1] + marks[n - 2] + marks[n - 1], 4);
    }
  }
}

TEST(MInference, FindsColumnsAndDiagonals) {
  PrefillWorld world(Shape(1, 64), 1280, 160, 0);
  // Head 0: everybody looks at token 500. Head 1: everybody looks 400 tokens back.
  for (int t = 1152; t < 1280; ++t) {
    for (int j = 0; j < 64; ++j) {
      world.q(t, 0)[j] = 3 * world.k(500, 0)[j];
      world.q(t, 1)[j] = 3 * world.k(t - 400, 1)[j];
    }
  }
  world.Read(Make("minference", {{"vertical", "32"}, {"slash", "160"}}), 512);
  EXPECT_EQ(world.marks().at({1152, 0})[500 / 16], 1);
  const std::vector<uint8_t>& slash = world.marks().at({1152, 1});
  for (int t = 1152; t < 1280; ++t) EXPECT_EQ(slash[static_cast<size_t>(t - 400) / 16], 1) << t;
}

// --- recipes ---

TEST(AShape, ReadsTheFirstTokensAndThoseInFront) {
  PrefillWorld world(Shape(1, 32), 1000, 170);
  world.Read(Make("ashape", {{"sinks", "20"}, {"recent", "200"}}), 512);
  for (const auto& [block, marks] : world.marks()) {
    for (int u = 0; u < static_cast<int>(marks.size()); ++u) {
      EXPECT_EQ(marks[static_cast<size_t>(u)], u < 2 || (u + 1) * 16 > block.first - 200);
    }
  }
}

std::string Refusal(const std::string& text, std::vector<int32_t> window = {0, 0}) {
  const auto recipe = Recipe::Parse(text);
  if (!recipe.ok()) return recipe.status().message();
  return KvPolicy::Compile(*recipe, {.shape = {2, 4, 2, 64, std::move(window)}, .is_special = {}})
      .status()
      .message();
}

TEST(PrefillRecipes, SayWhatCannotWork) {
  EXPECT_EQ(Refusal("exact prefill=xattention(stride=12)"),
            "recipe: prefill=xattention: stride: expected 8 or 16, found '12'");
  EXPECT_EQ(Refusal("xattention:1.5"),
            "prefill=xattention: tau: expected a number from 0 to 1, found '1.5'");
  EXPECT_EQ(Refusal("prefill=xatention"),
            "recipe: prefill has no part 'xatention'; did you mean xattention?");
  EXPECT_EQ(Refusal("xattention+minference"),
            "recipe: prefill is set twice, by 'xattention' and by 'minference'");
  EXPECT_EQ(Refusal("score=columns budget=64 xattention"),
            "recipe: score=columns and prefill=xattention cannot work together: sums over all "
            "queries need every attention weight, and a prompt that is read in part has most of "
            "them missing");
  EXPECT_EQ(Refusal("exact xattention", {32, 32}),
            "recipe: prefill=xattention has nothing to act on: every layer has a sliding window");
  for (const char* text :
       {"exact xattention", "snapkv:64+int4h prefill=minference", "quest:8+ashape",
        "keydiff:64 schedule=chunks xattention", "duo(file=x) xattention"}) {
    const std::string refusal = Refusal(text, {0, 32});
    EXPECT_EQ(refusal.find("cannot work"), std::string::npos) << text << ": " << refusal;
  }
}

TEST(PrefillRecipes, KeepTheirSeat) {
  const auto recipe = Recipe::Parse("xattention:0.95 q8_0 quest:32");
  ASSERT_TRUE(recipe.ok());
  EXPECT_EQ(recipe->ToString(), "codec=q8_0 prefill=xattention(tau=0.95) select=quest(pages=32)");
  EXPECT_EQ(*Recipe::Parse(recipe->ToString()), *recipe);
  EXPECT_EQ(Recipe::Parse("prefill=xattention(0.9,most=20%)")->ToString(),
            "prefill=xattention(most=20%)");
}

TEST(PrefillRecipes, WindowScoresAreThoseOfEverythingThatIsHeld) {
  const CacheShape shape = Shape(2, 64);
  const auto layers = RandomLayers(shape, 900, 11);
  PolicyWorld plain(shape, "snapkv(200,window=24)", layers);
  PolicyWorld sparse(shape, "snapkv(200,window=24) xattention(0.5,most=20%)", layers);
  for (PolicyWorld* world : {&plain, &sparse}) {
    world->KeepAttended();
    ASSERT_TRUE(world->Prefill(900, 256).ok());
  }
  EXPECT_NE(sparse.attended(), plain.attended());
  for (int kv_head = 0; kv_head < 2; ++kv_head) {
    EXPECT_EQ(sparse.Kept(0, kv_head), plain.Kept(0, kv_head));
    EXPECT_EQ(sparse.Kept(0, kv_head).size(), 200u);
  }
}

}  // namespace
}  // namespace kvasir
