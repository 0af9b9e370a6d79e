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

#include "kvasir/core/mapped_file.h"
#include "kvasir/model/model.h"
#include "kvasir/model/reference_forward_testing.h"

namespace kvasir {
namespace {

const std::string kFixtures = KVASIR_SOURCE_DIR "/tests/fixtures/models/";

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
  // What f32 loses against f64 over a few layers.
  Expect(Compare(actual, expected), 1e-5, "reference");
}

INSTANTIATE_TEST_SUITE_P(Fixtures, ModelParity, testing::ValuesIn(AllCases()),
                         [](const auto& info) {
                           const ParityCase& c = info.param;
                           return fmt::format("{}_{}_{}", c.fixture, c.file.empty() ? "hf" : "gguf",
                                              c.name);
                         });

}  // namespace
}  // namespace kvasir
