#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <random>

#include "kvasir/policy/policy_rig_testing.h"
#include "kvasir/policy/policy_testing.h"

namespace kvasir {
namespace {

using testing_policy::PolicyRig;
using testing_policy::RigSequence;

constexpr CacheShape kShape = {2, 4, 2, 16, {}};

// The kv head 1 of layer 0 and kv head 0 of layer 1 look far and repeat.
HeadTable PlantedTable() {
  HeadTable table;
  table.fingerprint = "0123456789abcdef";
  table.n_layer = 2;
  table.n_head = 4;
  table.n_kv_head = 2;
  table.echo = {0.1f, 0, 0, 0.9f, 0, 0, 0, 0};
  table.induction = {0, 0.1f, 0, 0, 0, 0.8f, 0.2f, 0};
  table.area = {0.5f, 0.5f, 0.9f, 0.7f, 0.8f, 0.8f, 0.5f, 0.6f};
  return table;
}

PolicyTarget PlantedTarget() {
  PolicyTarget target;
  target.fingerprint = PlantedTable().fingerprint;
  target.probe_heads = [] { return PlantedTable(); };
  return target;
}

bool IsRetrieval(int layer, int kv_head) { return layer != kv_head; }

std::string TempPath(const char* name) {
  return (std::filesystem::temp_directory_path() / name).string();
}

TEST(HeadTable, SurvivesAFile) {
  const std::string path = TempPath("kvasir_head_table.json");
  const HeadTable table = PlantedTable();
  ASSERT_TRUE(WriteHeadTable(table, path).ok());
  auto read = ReadHeadTable(path);
  std::remove(path.c_str());
  ASSERT_TRUE(read.ok()) << read.status().ToString();
  EXPECT_EQ(*read, table);
}

TEST(HeadTable, OfAnotherModelIsRefused) {
  const Status other = CheckHeadTable(PlantedTable(), kShape, "fedcba9876543210");
  EXPECT_EQ(other.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(other.message().find("fedcba9876543210"), std::string::npos);
  CacheShape deeper = kShape;
  deeper.n_layer = 3;
  EXPECT_FALSE(CheckHeadTable(PlantedTable(), deeper, PlantedTable().fingerprint).ok());
  PolicyRig rig;
  rig.target.probe_heads = [] { return PlantedTable(); };
  auto policy = rig.Compile("duo");
  ASSERT_FALSE(policy.ok());
  EXPECT_NE(policy.status().message().find(rig.target.fingerprint), std::string::npos);
}

TEST(HeadTable, NamesWhatIsWrongWithAFile) {
  const auto error = [](const std::string& text) {
    const auto table = ParseHeadTable(text, "heads.json");
    EXPECT_FALSE(table.ok()) << text;
    return table.ok() ? "" : table.status().message();
  };
  EXPECT_NE(error("{").find("heads.json"), std::string::npos);
  EXPECT_NE(error("{\"format\":\"x\"}").find("format"), std::string::npos);
  const std::string head =
      "{\"format\":\"kvasir-heads-1\",\"fingerprint\":\"a\",\"n_layer\":1,\"n_head\":2,";
  EXPECT_NE(error(head + "\"n_kv_head\":3}").find("n_kv_head"), std::string::npos);
  EXPECT_NE(error(head + "\"n_kv_head\":1,\"echo\":[1]}").find("echo"), std::string::npos);
  EXPECT_NE(error(head + "\"n_kv_head\":1,\"echo\":[1,2]}").find("echo[1]"), std::string::npos);
  EXPECT_NE(error(head + "\"n_kv_head\":1,\"echo\":[1,\"a\"]}").find("echo[1]"), std::string::npos);
  EXPECT_EQ(ReadHeadTable("/nonexistent/heads.json").status().code(), StatusCode::kNotFound);
}

TEST(HeadTable, FingerprintTellsWeightsApart) {
  PolicyRig a, b, c("tiny-qwen2");
  EXPECT_EQ(a.target.fingerprint, b.target.fingerprint);
  EXPECT_NE(a.target.fingerprint, c.target.fingerprint);
  EXPECT_EQ(a.target.fingerprint.size(), 16u);
}

TEST(TopShare, RoundsUpAndPrefersLowerIndices) {
  const std::vector<float> scores = {1, 3, 3, 2};
  EXPECT_EQ(TopShare(scores, 0), std::vector<int32_t>{});
  EXPECT_EQ(TopShare(scores, 0.01), std::vector<int32_t>{1});
  EXPECT_EQ(TopShare(scores, 0.5), (std::vector<int32_t>{1, 2}));
  EXPECT_EQ(TopShare(scores, 0.51), (std::vector<int32_t>{1, 2, 3}));
  EXPECT_EQ(TopShare(scores, 1), (std::vector<int32_t>{1, 2, 3, 0}));
}

// A model of one layer and two heads without positions: head 0 matches equal tokens, head 1 sees
// all alike.
TEST(HeadProbe, FindsAPlantedEchoHead) {
  constexpr int d = 32, n_vocab = 50000;  // few of 100 ids are drawn twice
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> embd(n_vocab * d), project(2 * d * d), zero(d * 2 * d), ff(d * d);
  for (float& x : embd) x = normal(random);
  for (int i = 0; i < d; ++i) project[i * d + i] = 1;
  const auto tensor = [](std::vector<float>& data, int64_t rows, int64_t cols) {
    Tensor t;
    t.type = TensorType::kF32;
    t.rows = rows;
    t.cols = cols;
    t.row_bytes = static_cast<size_t>(cols) * sizeof(float);
    t.data = reinterpret_cast<const std::byte*>(data.data());
    return t;
  };
  auto model = std::make_shared<Model>();
  ModelSpec& s = model->spec;
  s.architecture = "llama";
  s.n_layer = 1, s.n_embd = d, s.n_head = 2, s.n_kv_head = 2, s.head_dim = d, s.n_ff = d;
  s.n_vocab = n_vocab, s.n_ctx_train = 1024, s.attn_scale = 1;
  s.window = {0};
  s.uses_local_rope = {false};
  model->weights.token_embd = model->weights.output = tensor(embd, n_vocab, d);
  model->weights.output_norm.assign(d, 1.0f);
  LayerWeights& layer = model->weights.layers.emplace_back();
  layer.attn_norm.assign(d, 1.0f);
  layer.ffn_norm.assign(d, 1.0f);
  layer.wq = layer.wk = layer.wv = tensor(project, 2 * d, d);
  layer.wo = tensor(zero, d, 2 * d);
  layer.w_gate = layer.w_up = layer.w_down = tensor(ff, d, d);

  ByteLedger ledger;
  SlabArena arena(ledger, ByteKind::kKv);
  ThreadTeam team(1);
  auto forward = ForwardPass::Create(model, 512, 100, team, ledger);
  ASSERT_TRUE(forward.ok()) << forward.status().ToString();
  auto table = ProbeHeads(**forward, arena, {.period = 100, .text = {}, .is_special = {}});
  ASSERT_TRUE(table.ok()) << table.status().ToString();
  // In repeats 2, 3 and 4 a token shares its attention with itself and 1, 2 and 3 copies.
  EXPECT_NEAR(table->echo[0], (1 / 2.0 + 2 / 3.0 + 3 / 4.0) / 3, 0.02);
  EXPECT_LT(table->echo[1], 0.01);
  EXPECT_LT(table->induction[0], 0.01);
  EXPECT_EQ(TopShare(table->echo, 0.01), std::vector<int32_t>{0});
  // Keys without positions weigh every place alike.
  EXPECT_NEAR(table->area[1], 0.5, 0.01);
}

TEST(HeadProbe, NeedsRoomForTwoRepeats) {
  PolicyRig rig("tiny-llama", 20);
  EXPECT_EQ(ProbeHeads(*rig.forward, rig.arena, {}).status().code(), StatusCode::kInvalidArgument);
}

TEST(HeadRoles, GoToWholeGroupsByEchoAndInduction) {
  const auto roles_of = [](const char* text) {
    auto recipe = Recipe::Parse(text);
    PolicyTarget target = PlantedTarget();
    target.shape = kShape;
    auto policy = KvPolicy::Compile(*recipe, target);
    EXPECT_TRUE(policy.ok()) << policy.status().ToString();
    return *policy;
  };
  const auto razor = roles_of("razor(echo=10,induction=10,least=8)");
  const auto duo = roles_of("duo(50,4,16)");
  for (int layer = 0; layer < 2; ++layer) {
    for (int h = 0; h < 2; ++h) {
      const HeadRole want = IsRetrieval(layer, h) ? HeadRole::kWhole : HeadRole::kProtectedOnly;
      EXPECT_EQ(razor->role(layer, h), want);
      EXPECT_EQ(duo->role(layer, h), want);
    }
  }
}

// Full attention in doubles with the mask of a streaming head.
std::vector<double> Masked(const PolicyWorld& world, int layer, int token, int head, int sinks,
                           int recent) {
  const auto w = world.ExactWeights(layer, token, head, [&](int t) {
    return t < sinks || t > token - recent || IsRetrieval(layer, head / kShape.group());
  });
  std::vector<double> out(kShape.head_dim);
  for (int t = 0; t <= token; ++t) {
    const float* v = world.Row(world.layers()[layer].v, t, head / kShape.group());
    for (int j = 0; j < kShape.head_dim; ++j) out[j] += w[t] * v[j];
  }
  return out;
}

TEST(DuoAttention, StreamingHeadsEqualMaskedAttentionAndFreeTheRest) {
  constexpr int n = 200, sinks = 4, recent = 24, chunk = 50;
  PolicyWorld world(kShape, "codec=f32 duo(50,4,24,every=8)", RandomLayers(kShape, n + 60, 1), 2,
                    PlantedTarget());
  ASSERT_TRUE(world.Prefill(n, chunk).ok());
  for (int step = 0; step < 60; ++step) {
    ASSERT_TRUE(world.Decode(1).ok());
    for (int layer = 0; layer < 2; ++layer) {
      const std::vector<float> out = world.Attend(layer, n + step);
      for (int head = 0; head < 4; ++head) {
        const auto want = Masked(world, layer, n + step, head, sinks, recent);
        for (int j = 0; j < 16; ++j) ASSERT_NEAR(out[head * 16 + j], want[j], 1e-5) << step;
      }
      for (int h = 0; h < 2; ++h) {
        const auto held = static_cast<int>(world.Kept(layer, h).size());
        if (IsRetrieval(layer, h)) {
          EXPECT_EQ(held, n + step + 1);
        } else {
          EXPECT_LE(held, sinks + recent + 8);
        }
      }
    }
  }
  EXPECT_LE(world.peak_held(), 2 * (n + 60) + 2 * (sinks + recent + chunk));
}

TEST(DuoAttention, MasksInsideTheChunkSoThatChunksDoNotMatter) {
  PolicyRig rig;
  rig.target.probe_heads = [&rig] {
    HeadTable table = PlantedTable();
    table.fingerprint = rig.target.fingerprint;
    return table;
  };
  const auto tokens = PolicyRig::Tokens(180);
  RigSequence one = rig.Start("codec=f32 duo(50,4,16)"), many = rig.Start("codec=f32 duo(50,4,16)");
  ASSERT_TRUE(rig.Prefill(one, tokens, 180).ok());
  ASSERT_TRUE(rig.Prefill(many, tokens, 13).ok());
  EXPECT_EQ(one.Held(0, 0), many.Held(0, 0));
  for (size_t i = 0; i < one.logits.size(); ++i) ASSERT_NEAR(one.logits[i], many.logits[i], 1e-4);
  RigSequence full = rig.Start("codec=f32");
  ASSERT_TRUE(rig.Prefill(full, tokens, 180).ok());
  double moved = 0;
  for (size_t i = 0; i < one.logits.size(); ++i) {
    moved = std::max<double>(moved, std::abs(one.logits[i] - full.logits[i]));
  }
  EXPECT_GT(moved, 1e-3);
  EXPECT_LT(one.cache->bytes(), full.cache->bytes() * 3 / 4);
  EXPECT_EQ(many.TokensHeld(), one.TokensHeld());
}

TEST(RazorAttention, KeepsAWindowAndOneTokenForTheRest) {
  constexpr int n = 200;
  PolicyWorld world(kShape, "codec=f32 razor(10,10,least=16,percent=20,sinks=4,every=10)",
                    RandomLayers(kShape, n + 60, 2), 2, PlantedTarget());
  ASSERT_TRUE(world.Prefill(n, 64).ok());
  EXPECT_EQ(world.Kept(0, 1).size(), 200u);
  EXPECT_EQ(world.Kept(0, 0).size(), 1u + 4 + 40);  // N / 5
  ASSERT_TRUE(world.Decode(60).ok());
  EXPECT_EQ(world.Kept(0, 1).size(), 260u);
  EXPECT_EQ(world.Kept(0, 0).size(), 1u + 4 + 52);
  EXPECT_EQ(world.Kept(1, 1).size(), 1u + 4 + 52);
  // The token stands for all 260 - 56 others: their means, in doubles.
  const SegmentList& list = world.cache().list(0, 0);
  std::vector<float> k(16), v(16);
  ASSERT_TRUE(list.Decode(0, 1, k.data(), v.data()).ok());
  for (int j = 0; j < 16; ++j) {
    double mean_k = 0, mean_v = 0;
    for (int t = 4; t < 260 - 52; ++t) {
      mean_k += world.Row(world.layers()[0].k, t, 0)[j] / 204.0;
      mean_v += world.Row(world.layers()[0].v, t, 0)[j] / 204.0;
    }
    EXPECT_NEAR(k[j], mean_k, 1e-5);
    EXPECT_NEAR(v[j], mean_v, 1e-5);
  }
  EXPECT_NEAR(list.sealed()[0]->bias()[0], std::log2(204.0), 1e-5);
}

}  // namespace
}  // namespace kvasir
