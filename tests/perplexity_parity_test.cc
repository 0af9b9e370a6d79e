// Perplexity against transformers (f32, eager attention) on the same models and ids.
// tools/make_perplexity_fixture.py made the fixture.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "kvasir/core/mapped_file.h"
#include "kvasir/measure/audit.h"
#include "kvasir/measure/perplexity.h"

namespace kvasir {
namespace {

const std::string kFixtures = KVASIR_SOURCE_DIR "/tests/fixtures/";

struct PerplexityCase {
  std::string model;
  double chunks = 0, tail = 0;  // mean negative log-likelihoods
  int64_t n_ctx = 0, n_tail = 0;
  std::vector<TokenId> tokens;
};

std::vector<PerplexityCase> Cases() {
  const auto fixture = nlohmann::json::parse(ReadFile(kFixtures + "perplexity.json").value());
  std::vector<PerplexityCase> cases;
  for (const auto& c : fixture.at("cases")) {
    cases.push_back({c.at("model"), c.at("chunks"), c.at("tail"), fixture.at("n_ctx"),
                     fixture.at("n_tail"), fixture.at("tokens")});
  }
  return cases;
}

class PerplexityParity : public testing::TestWithParam<PerplexityCase> {};

// Both figures to 1e-3 of a perplexity.
TEST_P(PerplexityParity, OfChunksIsThatOfTransformers) {
  const PerplexityCase& c = GetParam();
  EngineOptions options;
  options.model_path = kFixtures + "models/" + c.model;
  options.kv = "f32";
  const auto engine = Engine::Load(options);
  ASSERT_TRUE(engine.ok()) << engine.status().ToString();
  const auto session = (*engine)->NewSession();
  const auto result =
      MeasurePerplexity(**session, (*engine)->n_vocab(), c.tokens, {.n_ctx = c.n_ctx});
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  EXPECT_NEAR(result->perplexity / std::exp(c.chunks), 1, 1e-3);
}

TEST_P(PerplexityParity, OfAnAuditIsThatOfTransformers) {
  const PerplexityCase& c = GetParam();
  const auto model = LoadModel(kFixtures + "models/" + c.model, {});
  ASSERT_TRUE(model.ok()) << model.status().ToString();
  AuditOptions options;
  options.recipes = {"f32"};
  options.n_decode = c.n_tail;
  options.n_ubatch = 32;
  options.baselines = options.heads = false;
  ThreadTeam team(2);
  const auto audit = RunAudit(*model, c.tokens, options, team);
  ASSERT_TRUE(audit.ok()) << audit.status().ToString();
  const RecipeAudit& f32 = audit->recipes.front();
  ASSERT_EQ(f32.decode.nll.size(), static_cast<size_t>(c.n_tail - 1));
  EXPECT_NEAR(f32.decode_summary.perplexity / std::exp(c.tail), 1, 1e-3);
}

INSTANTIATE_TEST_SUITE_P(Models, PerplexityParity, testing::ValuesIn(Cases()),
                         [](const auto& info) { return info.param.model; });

}  // namespace
}  // namespace kvasir
