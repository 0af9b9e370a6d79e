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

// Rows of values are padded to whole vectors of 16.
double F16TokenBytes(const ModelSpec& s) {
  const int padded = (s.head_dim + 15) / 16 * 16;
  return 2.0 * s.n_layer * s.n_kv_head * (s.head_dim + padded);
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

TEST(MinimalBytes, CountsMatricesOnceATokenAndTheCacheAsItGrows) {
  const auto model = Fixture("llama");
  ASSERT_NE(model, nullptr);
  const ModelSpec& s = model->spec;
  double matrices = static_cast<double>(s.n_vocab) * model->weights.output.row_bytes;
  for (const LayerWeights& w : model->weights.layers) {
    for (const Tensor& t : {w.wq, w.wk, w.wv, w.wo, w.w_gate, w.w_up, w.w_down}) {
      matrices += static_cast<double>(t.rows) * t.row_bytes;
    }
  }
  const double token = F16TokenBytes(s);
  EXPECT_DOUBLE_EQ(MinimalBytes(*model, {.n_gen = 3, .depth = 10}),
                   3 * matrices + (11 + 12 + 13) * token);
  EXPECT_DOUBLE_EQ(MinimalBytes(*model, {.n_gen = 1, .type_k = "f32", .type_v = "f32"}),
                   matrices + 2 * token);
}

TEST(MinimalBytes, OfAPromptCountsMatricesOnceAChunkAndTheOutputOnce) {
  const auto model = Fixture("llama");
  ASSERT_NE(model, nullptr);
  const double one = MinimalBytes(*model, {.n_prompt = 8, .n_ubatch = 8});
  const double two = MinimalBytes(*model, {.n_prompt = 16, .n_ubatch = 8});
  const double output = static_cast<double>(model->spec.n_vocab) * model->weights.output.row_bytes;
  EXPECT_DOUBLE_EQ(two, 2 * one - output + 8 * F16TokenBytes(model->spec));
}

TEST(MinimalBytes, StopsAtTheWindow) {
  const auto model = Fixture("mistral_window");
  ASSERT_NE(model, nullptr);
  const int32_t window = model->spec.window.front();
  ASSERT_GT(window, 0);
  EXPECT_DOUBLE_EQ(MinimalBytes(*model, {.n_gen = 1, .depth = window + 5}),
                   MinimalBytes(*model, {.n_gen = 1, .depth = window + 50}));
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
  EXPECT_THAT(status.ToString(),
              testing::AllOf(testing::HasSubstr("-ctk"), testing::HasSubstr("q9_9")));
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
