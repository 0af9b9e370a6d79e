// Recipes in sessions of a real model.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "kvasir/engine.h"

namespace kvasir {
namespace {

const std::string kModel = KVASIR_SHARED_DATA "/stories260K/stories260K.gguf";
const std::string kText =
    "Once upon a time, there was a little girl named Lily. She loved to play outside in the park "
    "with her friends. One day, they were playing hide and seek. Lily was hiding behind a big tree "
    "when she saw a small bird. The bird was hurt and could not fly. Lily picked it up and";

class EngineKv : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(kModel)) GTEST_SKIP() << "shared data: stories260K is absent";
  }
  static Result<std::shared_ptr<Engine>> Load(const std::string& kv, int n_ubatch = 64,
                                              const std::string& type_k = "f16") {
    EngineOptions options;
    options.model_path = kModel;
    options.n_thread = 2;
    options.n_ubatch = n_ubatch;
    options.kv = kv;
    options.type_k = type_k;
    return Engine::Load(options);
  }
  static GenerateResult Run(const std::string& kv, int n_ubatch = 64) {
    const auto engine = Load(kv, n_ubatch);
    EXPECT_TRUE(engine.ok()) << engine.status().ToString();
    auto session = (*engine)->NewSession();
    return Continue(**engine, **session, kText);
  }
  static GenerateResult Continue(Engine& engine, Session& session, const std::string& text) {
    GenerateOptions options;
    options.sampling.temperature = 0;
    options.n_predict = 48;
    auto result = session.Generate(engine.Tokenize(text), options);
    EXPECT_TRUE(result.ok()) << result.status().ToString();
    return std::move(*result);
  }
};

TEST_F(EngineKv, ChangesNothingWhileTheBudgetSuffices) {
  const GenerateResult exact = Run("exact");
  for (const char* kv : {"snapkv:500", "h2o:500", "streaming:500", "tova:500", "adakv:500",
                         "quest:64", "score=window(8) budget=500 schedule=cascade"}) {
    const GenerateResult got = Run(kv);
    EXPECT_EQ(got.tokens, exact.tokens) << kv;
  }
}

TEST_F(EngineKv, HoldsFewerBytes) {
  const int64_t exact = Run("exact").kv_bytes;
  for (const char* kv :
       {"snapkv:64", "streaming:64", "random:64", "knorm:64", "h2o(64,16)", "tova:64", "adakv:64",
        "pyramidkv:64", "q8_0", "q4_0", "score=window(8) budget=64 schedule=cascade"}) {
    const GenerateResult got = Run(kv);
    EXPECT_EQ(got.tokens.size(), 48u) << kv;
    EXPECT_LT(got.kv_bytes, exact * 9 / 10) << kv;
  }
  EXPECT_LT(Run("snapkv:64+q8_0").kv_bytes, Run("snapkv:64").kv_bytes);
}

TEST_F(EngineKv, AnswersTheSameHoweverThePromptIsCut) {
  for (const char* kv : {"snapkv:64", "h2o(64,16)", "tova:64", "knorm:64+q8_0", "adakv:64"}) {
    const GenerateResult whole = Run(kv, 512);
    for (int n_ubatch : {1, 33}) EXPECT_EQ(Run(kv, n_ubatch).tokens, whole.tokens) << kv;
  }
}

TEST_F(EngineKv, SaysWhyACutCacheIsNotRewound) {
  const auto engine = Load("snapkv:64");
  ASSERT_TRUE(engine.ok());
  auto session = (*engine)->NewSession();
  const GenerateResult first = Continue(**engine, **session, kText);
  const GenerateResult again = Continue(**engine, **session, kText);
  EXPECT_EQ(again.tokens, first.tokens);
  EXPECT_EQ(again.n_cached, 0);
  EXPECT_NE(again.cache_note.find("what is kept was chosen when"), std::string::npos)
      << again.cache_note;
  // What follows the answer goes on from the cut cache.
  const GenerateResult next = Continue(**engine, **session, kText + first.text + " The bird");
  EXPECT_GT(next.n_cached, first.n_prompt);
}

TEST_F(EngineKv, RefusesRecipesBeforeTheFirstToken) {
  EXPECT_EQ(Load("snapkw").status().code(), StatusCode::kNotFound);
  EXPECT_EQ(Load("snapkv:8").status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(Load("q8_0", 64, "q4_0").status().message(),
            "recipe: k is set twice, by 'q8_0' and by 'k=q4_0'");
  EXPECT_TRUE(Load("streaming:64", 64, "q8_0").ok());
}

TEST_F(EngineKv, ForksGoTheirOwnWays) {
  for (const char* kv : {"exact", "snapkv:64", "h2o(64,16)", "kivi:2", "q8_0", "quest:16"}) {
    const auto engine = Load(kv);
    ASSERT_TRUE(engine.ok()) << engine.status().ToString();
    auto session = std::move(*(*engine)->NewSession());
    Continue(**engine, *session, kText);
    auto fork = session->Fork();
    ASSERT_TRUE(fork.ok()) << fork.status().ToString();
    EXPECT_TRUE(std::ranges::equal((*fork)->tokens(), session->tokens()));
    EXPECT_LE((*fork)->kv_bytes(), session->kv_bytes()) << kv;  // a copy leaves no gaps
    // Another continuation in between must not reach the session that the fork was taken from.
    std::vector<TokenId> held(session->tokens().begin(), session->tokens().end());
    GenerateOptions options;
    options.sampling.temperature = 0;
    options.n_predict = 24;
    const auto continued = [&](Session& s, TokenId next) {
      std::vector<TokenId> prompt = held;
      prompt.push_back(next);
      auto result = s.Generate(prompt, options);
      EXPECT_TRUE(result.ok()) << result.status().ToString();
      EXPECT_EQ(result->n_cached, static_cast<int64_t>(held.size())) << kv;
      return result->tokens;
    };
    auto second = session->Fork();
    ASSERT_TRUE(second.ok());
    continued(**fork, 300);
    const std::vector<TokenId> original = continued(*session, 400);
    EXPECT_EQ(continued(**second, 400), original) << kv;
  }
}

}  // namespace
}  // namespace kvasir
