#include "kvasir/measure/perplexity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "kvasir/model/model.h"

namespace kvasir {
namespace {

using testing::HasSubstr;

constexpr char kStories[] = KVASIR_SHARED_DATA "/stories260K/stories260K.gguf";
constexpr char kText[] =
    "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. "
    "One day, she saw a big, red ball. She wanted to play with it, but it was too high. Her mom "
    "said, \"Lily, let's go to the park.\" Lily was sad and did not know what to do.";

class Perplexity : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(kStories)) GTEST_SKIP() << "shared data: stories260K is absent";
    EngineOptions options;
    options.model_path = kStories;
    auto engine = Engine::Load(options);
    ASSERT_TRUE(engine.ok()) << engine.status().ToString();
    engine_ = *engine;
    auto session = engine_->NewSession();
    ASSERT_TRUE(session.ok());
    session_ = std::move(session).value();
    tokens_ = engine_->Tokenize(kText);
    bos_ = engine_->model().tokenizer->bos();
  }

  // Negative log-likelihoods of chunk[first_predicted..], from logits and the definition.
  void Direct(std::vector<TokenId> chunk, size_t first_predicted, std::vector<double>* nll) {
    std::vector<float> logits;
    ASSERT_TRUE(session_
                    ->Logits(chunk,
                             [&](int64_t, int64_t n, const float* rows) {
                               logits.insert(logits.end(), rows, rows + n * engine_->n_vocab());
                               return Status::Ok();
                             })
                    .ok());
    for (size_t i = first_predicted; i < chunk.size(); ++i) {
      const float* row = &logits[(i - 1) * static_cast<size_t>(engine_->n_vocab())];
      double sum = 0;
      for (int32_t id = 0; id < engine_->n_vocab(); ++id) sum += std::exp(double{row[id]});
      nll->push_back(std::log(sum) - row[chunk[i]]);
    }
  }
  std::vector<TokenId> Chunk(size_t begin, size_t n) const {
    std::vector<TokenId> chunk(tokens_.begin() + static_cast<ptrdiff_t>(begin),
                               tokens_.begin() + static_cast<ptrdiff_t>(begin + n));
    chunk[0] = bos_;
    return chunk;
  }
  void ExpectIs(const Result<PerplexityResult>& result, const std::vector<double>& nll) {
    ASSERT_TRUE(result.ok()) << result.status().ToString();
    double mean = 0, variance = 0;
    for (const double v : nll) mean += v / static_cast<double>(nll.size());
    for (const double v : nll) variance += (v - mean) * (v - mean);
    variance /= static_cast<double>(nll.size() - 1);
    EXPECT_EQ(result->n_predicted, static_cast<int64_t>(nll.size()));
    EXPECT_NEAR(result->mean_nll, mean, 1e-5);
    EXPECT_NEAR(result->perplexity, std::exp(mean), 1e-4 * std::exp(mean));
    EXPECT_NEAR(result->standard_error,
                std::exp(mean) * std::sqrt(variance / static_cast<double>(nll.size())),
                1e-4 * std::exp(mean));
  }

  std::shared_ptr<Engine> engine_;
  std::unique_ptr<Session> session_;
  std::vector<TokenId> tokens_;
  TokenId bos_ = -1;
};

TEST_F(Perplexity, IsThatOfTheSecondHalvesOfChunks) {
  ASSERT_GE(tokens_.size(), 4u * 21);
  std::vector<double> nll;
  const size_t n_chunk = tokens_.size() / 21;
  // 10 = 21 / 2 is the first position that is judged; it predicts token 11.
  for (size_t i = 0; i < n_chunk; ++i) Direct(Chunk(i * 21, 21), 11, &nll);
  int64_t reported = 0;
  const auto result = MeasurePerplexity(
      *session_, engine_->n_vocab(), tokens_,
      {.n_ctx = 21, .bos = bos_, .progress = [&](int64_t done, int64_t total, double perplexity) {
         EXPECT_EQ(done, ++reported);
         EXPECT_EQ(total, static_cast<int64_t>(n_chunk));
         EXPECT_GT(perplexity, 1);
       }});
  ExpectIs(result, nll);
  EXPECT_EQ(result->n_chunk, static_cast<int64_t>(n_chunk));
  EXPECT_EQ(reported, result->n_chunk);
  // A text of the kind the model was trained on: far below the 512 of knowing nothing.
  EXPECT_LT(result->perplexity, 20);
}

TEST_F(Perplexity, WithAStrideIsThatOfTheLastTokensOfOverlappingChunks) {
  std::vector<double> nll;
  const size_t n_chunk = (tokens_.size() - 32) / 8 + 1;
  for (size_t i = 0; i < n_chunk; ++i) Direct(Chunk(i * 8, 32), 24, &nll);
  ExpectIs(MeasurePerplexity(*session_, engine_->n_vocab(), tokens_,
                             {.n_ctx = 32, .stride = 8, .bos = bos_}),
           nll);
}

TEST_F(Perplexity, StopsAfterTheChunksAskedFor) {
  std::vector<double> nll;
  Direct(Chunk(0, 16), 9, &nll);
  ExpectIs(MeasurePerplexity(*session_, engine_->n_vocab(), tokens_,
                             {.n_ctx = 16, .bos = bos_, .max_chunks = 1}),
           nll);
}

TEST_F(Perplexity, RefusesWhatGivesNoChunk) {
  const auto error = [&](const PerplexityOptions& options) {
    return MeasurePerplexity(*session_, engine_->n_vocab(), tokens_, options).status().ToString();
  };
  EXPECT_THAT(error({.n_ctx = 1}), HasSubstr("at least 2"));
  EXPECT_THAT(error({.n_ctx = 16, .stride = 16}), HasSubstr("stride from 0 to 15, found 16"));
  EXPECT_THAT(error({.n_ctx = 4096}),
              HasSubstr("has " + std::to_string(tokens_.size()) + " tokens, a context takes 4096"));
}

TEST(PerplexityChunks, LeavesOutARemainder) {
  EXPECT_EQ(PerplexityChunks(1023, {.n_ctx = 512}), 1);
  EXPECT_EQ(PerplexityChunks(1024, {.n_ctx = 512}), 2);
  EXPECT_EQ(PerplexityChunks(511, {.n_ctx = 512}), 0);
  EXPECT_EQ(PerplexityChunks(1024, {.n_ctx = 512, .stride = 256}), 3);
}

}  // namespace
}  // namespace kvasir
