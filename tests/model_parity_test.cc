// Logits against transformers (f32, eager attention) for every architecture, from the HF folder and
// from the GGUF file of the same weights. tools/make_model_fixtures.py made the fixtures.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "kvasir/cache/sequence_cache.h"
#include "kvasir/core/mapped_file.h"
#include "kvasir/model/forward.h"
#include "kvasir/model/model.h"
#include "kvasir/model/reference_forward_testing.h"

namespace kvasir {
namespace {

const std::string kFixtures = KVASIR_SOURCE_DIR "/tests/fixtures/models/";

// Largest difference over the largest logit: what f32 loses over a few layers, and what keys and
// values of 11 bits lose.
constexpr double kF32Bound = 5e-6;
constexpr double kF16KvBound = 3e-3;

struct ParityCase {
  std::string fixture;
  std::string file;  // "" for the folder
  std::string name;
  int32_t n_ctx = 0;
  size_t n_vocab = 0;
  std::vector<TokenId> tokens;
  std::string logits_path;
};

std::vector<ParityCase> CasesOf(const std::filesystem::path& folder) {
  const auto expected = nlohmann::json::parse(ReadFile(folder / "expected.json").value());
  std::vector<ParityCase> cases;
  for (const std::string file : {"", "model.gguf"}) {
    if (!std::filesystem::exists(folder / file)) continue;
    for (const auto& listed : expected.at("cases")) {
      cases.push_back({folder.filename(), file, listed.at("name"), listed.at("n_ctx"),
                       expected.at("n_vocab"), listed.at("tokens"),
                       folder / listed.at("logits").get<std::string>()});
    }
  }
  return cases;
}

std::vector<ParityCase> AllCases() {
  std::vector<ParityCase> cases;
  for (const auto& entry : std::filesystem::directory_iterator(kFixtures)) {
    for (ParityCase& one : CasesOf(entry.path())) cases.push_back(std::move(one));
  }
  std::sort(cases.begin(), cases.end(), [](const ParityCase& a, const ParityCase& b) {
    return std::tie(a.fixture, a.file, a.name) < std::tie(b.fixture, b.file, b.name);
  });
  return cases;
}

std::vector<float> ExpectedLogits(const ParityCase& c) {
  const std::string bytes = ReadFile(c.logits_path).value();
  std::vector<float> logits(bytes.size() / sizeof(float));
  std::memcpy(logits.data(), bytes.data(), bytes.size());
  return logits;
}

// Logits of all tokens from the engine, `chunk` tokens a call.
Result<std::vector<float>> EngineLogits(std::shared_ptr<const Model> model, const ParityCase& c,
                                        TileFormat format, int32_t chunk, int n_thread) {
  ByteLedger ledger;
  ThreadTeam team(n_thread);
  SlabArena arena(ledger, ByteKind::kKv);
  KVASIR_ASSIGN_OR_RETURN(const auto pass,
                          ForwardPass::Create(model, c.n_ctx, chunk, team, ledger));
  SequenceCache cache(CacheShapeOf(model->spec), format, format, arena);
  std::vector<float> logits;
  const auto sink = [&](int64_t, int64_t n, const float* rows) {
    logits.insert(logits.end(), rows, rows + n * model->spec.n_vocab);
    return Status::Ok();
  };
  std::span<const TokenId> left = c.tokens;
  while (!left.empty()) {
    const size_t n = std::min(left.size(), static_cast<size_t>(chunk));
    KVASIR_RETURN_IF_ERROR(pass->Run(left.first(n), cache, LogitsWanted::kAll, sink));
    left = left.subspan(n);
  }
  return logits;
}

struct Difference {
  double worst = 0;  // largest absolute difference; NaN when there is one
  double scale = 0;  // largest expected magnitude
};

template <typename T>
Difference Compare(const std::vector<T>& actual, const std::vector<float>& expected) {
  Difference difference;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double error = std::abs(static_cast<double>(actual[i]) - expected[i]);
    if (!(error <= difference.worst)) difference.worst = error;
    difference.scale = std::max(difference.scale, std::abs(double{expected[i]}));
  }
  return difference;
}

class ModelParity : public testing::TestWithParam<ParityCase> {
 protected:
  void Expect(const Difference& difference, double bound, const std::string& what) {
    RecordProperty(what + "_max_abs_diff", fmt::format("{:.3g}", difference.worst));
    fmt::print("{:20} {:5} {:7} {:10} max abs diff {:.2e} of {:.2f}\n", GetParam().fixture,
               GetParam().file.empty() ? "hf" : "gguf", GetParam().name, what, difference.worst,
               difference.scale);
    EXPECT_TRUE(difference.worst <= bound * difference.scale)
        << difference.worst << " of " << difference.scale;
  }
};

TEST_P(ModelParity, ReferenceGivesTheLogitsOfTransformers) {
  const ParityCase& c = GetParam();
  const auto model = LoadModel(kFixtures + c.fixture + "/" + c.file, {});
  ASSERT_TRUE(model.ok()) << model.status().ToString();
  const std::vector<float> expected = ExpectedLogits(c);
  const std::vector<double> actual = ReferenceLogits(**model, c.tokens, c.n_ctx);
  ASSERT_EQ(actual.size(), c.tokens.size() * c.n_vocab);
  ASSERT_EQ(expected.size(), actual.size());
  Expect(Compare(actual, expected), kF32Bound, "reference");
}

TEST_P(ModelParity, EngineGivesTheLogitsOfTransformers) {
  const ParityCase& c = GetParam();
  const auto model = LoadModel(kFixtures + c.fixture + "/" + c.file, {});
  ASSERT_TRUE(model.ok()) << model.status().ToString();
  const std::vector<float> expected = ExpectedLogits(c);
  const auto n_token = static_cast<int32_t>(c.tokens.size());
  const auto f32 = EngineLogits(*model, c, TileFormat::kF32, n_token, 1);
  ASSERT_TRUE(f32.ok()) << f32.status().ToString();
  ASSERT_EQ(f32->size(), expected.size());
  Expect(Compare(*f32, expected), kF32Bound, "engine_f32_kv");
  const auto f16 = EngineLogits(*model, c, TileFormat::kF16, n_token, 1);
  ASSERT_TRUE(f16.ok()) << f16.status().ToString();
  Expect(Compare(*f16, expected), kF16KvBound, "engine_f16_kv");
}

TEST_P(ModelParity, EngineGivesTheSameBitsForEveryChunkAndThreadCount) {
  const ParityCase& c = GetParam();
  const auto model = LoadModel(kFixtures + c.fixture + "/" + c.file, {});
  ASSERT_TRUE(model.ok()) << model.status().ToString();
  const auto n_token = static_cast<int32_t>(c.tokens.size());
  const auto whole = EngineLogits(*model, c, TileFormat::kF32, n_token, 1);
  ASSERT_TRUE(whole.ok()) << whole.status().ToString();
  for (const auto& [chunk, n_thread] : {std::pair(1, 1), {1, 2}, {7, 2}, {n_token, 3}}) {
    const auto parts = EngineLogits(*model, c, TileFormat::kF32, chunk, n_thread);
    ASSERT_TRUE(parts.ok()) << parts.status().ToString();
    EXPECT_EQ(*parts, *whole) << "chunks of " << chunk << ", " << n_thread << " threads";
  }
}

// One thing that a loader or a forward pass could get wrong. Says whether the model has it.
struct Change {
  const char* what;
  bool (*apply)(ModelSpec& spec, Weights& weights);
};

bool ClearFirst(Weights& weights, std::vector<float> LayerWeights::*part) {
  std::vector<float>& values = weights.layers.front().*part;
  const bool had = !values.empty();
  values.clear();
  return had;
}

constexpr Change kChanges[] = {
    {"window",
     [](ModelSpec& spec, Weights&) {
       for (int32_t& window : spec.window) window = window > 0 ? window + 1 : 0;
       return *std::max_element(spec.window.begin(), spec.window.end()) > 0;
     }},
    {"which layers have the window",
     [](ModelSpec& spec, Weights&) {
       std::reverse(spec.window.begin(), spec.window.end());
       return spec.window.front() != spec.window.back();
     }},
    {"local rope",
     [](ModelSpec& spec, Weights&) {
       const std::vector<bool> none(spec.uses_local_rope.size(), false);
       return std::exchange(spec.uses_local_rope, none) != none;
     }},
    {"rope pairing",
     [](ModelSpec& spec, Weights&) {
       const bool halves = spec.rope.pairing == RopePairing::kHalves;
       spec.rope.pairing = halves ? RopePairing::kAdjacent : RopePairing::kHalves;
       return true;
     }},
    {"rope base",
     [](ModelSpec& spec, Weights&) {
       spec.rope.freq_base *= 1.1;
       return true;
     }},
    {"rope scaling",
     [](ModelSpec& spec, Weights&) {
       const bool divided = !spec.rope.freq_divisors.empty();
       spec.rope.freq_divisors.clear();
       return std::exchange(spec.rope.scaling, RopeScaling::kNone) != RopeScaling::kNone || divided;
     }},
    {"rope magnitude",
     [](ModelSpec& spec, Weights&) {
       spec.rope.attn_factor = 1.0;
       return spec.rope.scaling == RopeScaling::kYarn ||
              spec.rope.scaling == RopeScaling::kLongRope;
     }},
    {"rotated channels",
     [](ModelSpec& spec, Weights&) {
       spec.rope.n_rot -= 2;
       return true;
     }},
    {"attention scale",
     [](ModelSpec& spec, Weights&) {
       spec.attn_scale *= 1.1f;
       return true;
     }},
    {"attention soft-cap",
     [](ModelSpec& spec, Weights&) { return std::exchange(spec.attn_softcap, 0.0f) > 0; }},
    {"final soft-cap",
     [](ModelSpec& spec, Weights&) { return std::exchange(spec.final_softcap, 0.0f) > 0; }},
    {"embedding scale",
     [](ModelSpec& spec, Weights&) { return std::exchange(spec.embedding_scale, 1.0f) != 1.0f; }},
    {"activation",
     [](ModelSpec& spec, Weights&) {
       const bool silu = spec.activation == Activation::kSilu;
       spec.activation = silu ? Activation::kGeluTanh : Activation::kSilu;
       return true;
     }},
    {"bq", [](ModelSpec&, Weights& w) { return ClearFirst(w, &LayerWeights::bq); }},
    {"bk", [](ModelSpec&, Weights& w) { return ClearFirst(w, &LayerWeights::bk); }},
    {"bv", [](ModelSpec&, Weights& w) { return ClearFirst(w, &LayerWeights::bv); }},
    {"bo", [](ModelSpec&, Weights& w) { return ClearFirst(w, &LayerWeights::bo); }},
    {"b_gate", [](ModelSpec&, Weights& w) { return ClearFirst(w, &LayerWeights::b_gate); }},
    {"b_up", [](ModelSpec&, Weights& w) { return ClearFirst(w, &LayerWeights::b_up); }},
    {"b_down", [](ModelSpec&, Weights& w) { return ClearFirst(w, &LayerWeights::b_down); }},
    {"q_norm", [](ModelSpec&, Weights& w) { return ClearFirst(w, &LayerWeights::q_norm); }},
    {"k_norm", [](ModelSpec&, Weights& w) { return ClearFirst(w, &LayerWeights::k_norm); }},
    {"attn_post_norm",
     [](ModelSpec&, Weights& w) { return ClearFirst(w, &LayerWeights::attn_post_norm); }},
    {"ffn_post_norm",
     [](ModelSpec&, Weights& w) { return ClearFirst(w, &LayerWeights::ffn_post_norm); }},
    {"swapped norms",
     [](ModelSpec&, Weights& w) {
       std::swap(w.layers.front().attn_norm, w.layers.front().ffn_norm);
       return true;
     }},
};

// The bounds above mean something: each mistake moves the logits a hundred times further.
TEST_P(ModelParity, EveryFeatureOfTheFixtureMatters) {
  const ParityCase& c = GetParam();
  const auto model = LoadModel(kFixtures + c.fixture + "/" + c.file, {});
  ASSERT_TRUE(model.ok()) << model.status().ToString();
  const std::vector<float> expected = ExpectedLogits(c);
  for (const Change& change : kChanges) {
    Model changed;
    changed.spec = (*model)->spec;
    changed.weights = (*model)->weights;
    if (!change.apply(changed.spec, changed.weights)) continue;
    const Difference difference = Compare(ReferenceLogits(changed, c.tokens, c.n_ctx), expected);
    EXPECT_GT(difference.worst, 100 * kF32Bound * difference.scale) << change.what;
  }
}

INSTANTIATE_TEST_SUITE_P(Fixtures, ModelParity, testing::ValuesIn(AllCases()),
                         [](const auto& info) {
                           const ParityCase& c = info.param;
                           return fmt::format("{}_{}_{}", c.fixture, c.file.empty() ? "hf" : "gguf",
                                              c.name);
                         });

}  // namespace
}  // namespace kvasir
