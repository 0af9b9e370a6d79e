#include "kvasir/measure/bench.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "kvasir/core/thread_team.h"

namespace kvasir {
namespace {

using testing::ElementsAre;

std::shared_ptr<const Model> Fixture(const std::string& name) {
  auto model =
      LoadModel(std::string(KVASIR_SOURCE_DIR) + "/tests/fixtures/models/" + name, LoadOptions{});
  EXPECT_TRUE(model.ok()) << model.status().ToString();
  return model.ok() ? *model : nullptr;
}

TEST(BenchCaseName, IsLlamaBenchs) {
  EXPECT_EQ(BenchCaseName({.n_prompt = 512}), "pp512");
  EXPECT_EQ(BenchCaseName({.n_gen = 128}), "tg128");
  EXPECT_EQ(BenchCaseName({.n_gen = 32, .depth = 16384}), "tg32 @ d16384");
}

TEST(ExpandGrid, MultipliesListsAndLeavesOutZeroes) {
  const BenchGrid grid = {.n_prompt = {0, 64}, .n_gen = {8, 16}, .depth = {0, 4096}};
  std::vector<std::string> names;
  for (const BenchCase& c : ExpandGrid(grid)) names.push_back(BenchCaseName(c));
  EXPECT_THAT(names,
              ElementsAre("pp64", "tg8", "tg16", "pp64 @ d4096", "tg8 @ d4096", "tg16 @ d4096"));
}

TEST(ExpandGrid, CrossesFormatsThreadsAndChunks) {
  const BenchGrid grid = {.n_prompt = {1},
                          .n_gen = {},
                          .n_thread = {1, 2, 3},
                          .n_ubatch = {32, 64},
                          .type_k = {"f16", "f32"},
                          .type_v = {"f16", "f32"}};
  EXPECT_EQ(ExpandGrid(grid).size(), 3u * 2 * 2 * 2);
}

TEST(ExpandGrid, ResolvesTheThreadCount) {
  EXPECT_EQ(ExpandGrid({}).front().n_thread, ThreadTeam::AvailableCpus());
}

TEST(MatrixBytes, CountsLayersOnceAChunkAndTheOutputWhereLogitsAreMade) {
  const auto model = Fixture("llama");
  ASSERT_NE(model, nullptr);
  const double output = static_cast<double>(model->spec.n_vocab) * model->weights.output.row_bytes;
  double layers = 0;
  for (const LayerWeights& w : model->weights.layers) {
    for (const Tensor& t : {w.wq, w.wk, w.wv, w.wo, w.w_gate, w.w_up, w.w_down}) {
      layers += static_cast<double>(t.rows) * t.row_bytes;
    }
  }
  EXPECT_DOUBLE_EQ(MatrixBytes(*model, {.n_gen = 3}), 3 * (layers + output));
  EXPECT_DOUBLE_EQ(MatrixBytes(*model, {.n_prompt = 8, .n_ubatch = 8}), layers + output);
  EXPECT_DOUBLE_EQ(MatrixBytes(*model, {.n_prompt = 9, .n_ubatch = 8}), 2 * layers + output);
}

class RunBenchOn : public testing::TestWithParam<std::tuple<const char*, BenchFill>> {};

// Depths go up and down again, so the cache grows, rewinds and, with windows, starts over.
TEST_P(RunBenchOn, EveryCaseAndRepetitionIsTimed) {
  const auto& [name, fill] = GetParam();
  const auto model = Fixture(name);
  ASSERT_NE(model, nullptr);
  const BenchGrid grid = {.n_prompt = {9},
                          .n_gen = {3},
                          .depth = {0, 70, 20, 90},
                          .n_thread = {1, 2},
                          .n_ubatch = {4},
                          .type_k = {"f16", "f32"}};
  const std::vector<BenchCase> cases = ExpandGrid(grid);
  std::vector<std::string> stages;
  BenchOptions options = {.repetitions = 2, .fill = fill, .read_bytes = 1 << 20};
  options.progress = [&](std::string_view stage, int64_t done, int64_t total) {
    EXPECT_LE(done, total);
    if (stages.empty() || stages.back() != stage) stages.emplace_back(stage);
  };
  size_t n = 0;
  const Status status = RunBench(model, cases, options, [&](const BenchResult& result) {
    EXPECT_EQ(BenchCaseName(result.bench_case), BenchCaseName(cases[n++]));
    EXPECT_EQ(result.seconds.size(), 2u);
    for (const double rate : result.TokenRates()) EXPECT_GT(rate, 0);
    EXPECT_GT(result.read_rate, 0);
    EXPECT_EQ(result.fill, fill);
    return Status::Ok();
  });
  EXPECT_TRUE(status.ok()) << status.ToString();
  EXPECT_EQ(n, cases.size());
  const std::string suffix = fill == BenchFill::kRandom ? " at random" : "";
  EXPECT_THAT(stages, testing::Contains("fill 90" + suffix));
  EXPECT_THAT(stages, testing::Contains("tg3 @ d20"));
}

TEST(RunBench, CountsTheCacheThatIsHeld) {
  const auto model = Fixture("llama");
  ASSERT_NE(model, nullptr);
  const auto cache_bytes = [&](const std::string& type) {
    double bytes = 0;
    const BenchCase c = {.n_gen = 1, .depth = 511, .n_thread = 1, .type_k = type, .type_v = type};
    const Status status =
        RunBench(model, {c}, {.repetitions = 1, .read_bytes = 1 << 20}, [&](const BenchResult& r) {
          bytes = r.moved_bytes - MatrixBytes(*model, c);
          return Status::Ok();
        });
    EXPECT_TRUE(status.ok()) << status.ToString();
    return bytes;
  };
  const ModelSpec& s = model->spec;
  const int padded = (s.head_dim + 15) / 16 * 16;  // rows of values take whole vectors
  const double f16 = 512.0 * 2 * s.n_layer * s.n_kv_head * (s.head_dim + padded);
  EXPECT_NEAR(cache_bytes("f16"), f16, 0.01 * f16);
  EXPECT_NEAR(cache_bytes("f32"), 2 * f16, 0.01 * f16);
}

TEST(RunBench, TakesRecipesThatSealAndThatEvict) {
  const auto model = Fixture("llama");
  ASSERT_NE(model, nullptr);
  const BenchGrid grid = {.n_prompt = {5},
                          .n_gen = {3},
                          .depth = {200, 60},
                          .n_thread = {1, 2},
                          .n_ubatch = {32},
                          .kv = {"exact", "streaming:64", "int4h"}};
  int n = 0;
  const Status status = RunBench(model, ExpandGrid(grid), {.repetitions = 2, .read_bytes = 1 << 20},
                                 [&](const BenchResult&) {
                                   ++n;
                                   return Status::Ok();
                                 });
  EXPECT_TRUE(status.ok()) << status.ToString();
  EXPECT_EQ(n, 24);
}

TEST(RunBench, RefusesRandomTokensUnderARecipeThatEvicts) {
  const auto model = Fixture("llama");
  ASSERT_NE(model, nullptr);
  const Status status =
      RunBench(model, {{.n_gen = 1, .depth = 64, .n_thread = 1, .kv = "streaming:32"}},
               {.fill = BenchFill::kRandom, .read_bytes = 1 << 20},
               [](const BenchResult&) { return Status::Ok(); });
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << status.ToString();
  EXPECT_THAT(status.ToString(), testing::HasSubstr("--fill prefill"));
}

INSTANTIATE_TEST_SUITE_P(Models, RunBenchOn,
                         testing::Combine(testing::Values("llama", "mistral_window", "gemma3"),
                                          testing::Values(BenchFill::kPrefill,
                                                          BenchFill::kRandom)));

TEST(RunBench, NamesTheFormatItDoesNotKnow) {
  const auto model = Fixture("llama");
  ASSERT_NE(model, nullptr);
  const Status status =
      RunBench(model, {{.n_gen = 1, .n_thread = 1, .type_k = "q9_9"}}, {.read_bytes = 1 << 20},
               [](const BenchResult&) { return Status::Ok(); });
  EXPECT_THAT(status.ToString(), testing::HasSubstr("q9_9"));
}

TEST(RunBench, StopsAtTheSinksError) {
  const auto model = Fixture("llama");
  ASSERT_NE(model, nullptr);
  int n = 0;
  const Status status =
      RunBench(model, ExpandGrid({.n_prompt = {1, 2}, .n_gen = {}}),
               {.repetitions = 1, .read_bytes = 1 << 20}, [&](const BenchResult&) {
                 ++n;
                 return Status::IoError("full");
               });
  EXPECT_EQ(status.code(), StatusCode::kIoError);
  EXPECT_EQ(n, 1);
}

}  // namespace
}  // namespace kvasir
