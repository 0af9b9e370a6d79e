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

// A conversation of turns that repeat a sentence, driven as a chat would.
class Turns {
 public:
  Turns(const std::string& kv, int32_t n_ctx, int64_t memory_limit = 0) {
    EngineOptions options;
    options.model_path = kModel;
    options.n_thread = 2;
    options.n_ctx = n_ctx;
    options.n_ubatch = 16;
    options.kv = kv;
    options.has_turns = true;
    options.memory_limit = memory_limit;
    auto engine = Engine::Load(options);
    EXPECT_TRUE(engine.ok()) << engine.status().ToString();
    engine_ = *engine;
    session_ = std::move(*engine_->NewSession());
    prompt_ = engine_->Tokenize("Tom is kind. ");
  }

  // One more turn of about 30 tokens and its answer.
  Result<GenerateResult> Take() {
    turns_.push_back(static_cast<int64_t>(prompt_.size()));
    const auto text = engine_->Tokenize("Lily went to the park and saw a big dog there.");
    prompt_.insert(prompt_.end(), text.begin() + 1, text.end());
    GenerateOptions options;
    options.sampling.temperature = 0;
    options.n_predict = 12;
    options.ignore_eos = true;
    options.turns = turns_;
    KVASIR_ASSIGN_OR_RETURN(GenerateResult result, session_->Generate(prompt_, options));
    for (int64_t i = 0; i < result.n_turns_dropped; ++i) {
      const int64_t begin = turns_[0], end = turns_[1];
      prompt_.erase(prompt_.begin() + begin, prompt_.begin() + end);
      turns_.erase(turns_.begin());
      for (int64_t& at : turns_) at -= end - begin;
    }
    prompt_.insert(prompt_.end(), result.tokens.begin(), result.tokens.end());
    return result;
  }
  const std::vector<TokenId>& prompt() const { return prompt_; }
  Session& session() { return *session_; }
  Engine& engine() { return *engine_; }

 private:
  std::shared_ptr<Engine> engine_;
  std::unique_ptr<Session> session_;
  std::vector<TokenId> prompt_;
  std::vector<int64_t> turns_;
};

TEST_F(EngineKv, DropsTheOldestTurnsWhenTheContextIsFull) {
  for (const char* kv : {"overflow=drop-turns", "overflow=drop-turns position=renumber",
                         "q8_0+overflow=drop-turns+position=renumber"}) {
    SCOPED_TRACE(kv);
    Turns talk(kv, 160);
    int64_t n_dropped = 0, n_reused = 0;
    for (int i = 0; i < 12; ++i) {
      const auto result = talk.Take();
      ASSERT_TRUE(result.ok()) << result.status().ToString();
      EXPECT_EQ(result->tokens.size(), 12u);
      EXPECT_EQ(result->n_turns_dropped > 0,
                result->cache_note.find("of the conversation") != std::string::npos)
          << result->cache_note;
      if (result->n_turns_dropped > 0) n_reused += result->n_cached;
      n_dropped += result->n_turns_dropped;
      // What the session holds is the conversation without the dropped turns.
      const auto held = talk.session().tokens();
      ASSERT_LE(held.size(), talk.prompt().size());
      EXPECT_TRUE(std::equal(held.begin(), held.end(), talk.prompt().begin()));
      EXPECT_LE(held.size(), 160u);
    }
    EXPECT_GT(n_dropped, 5);
    // Where angles close ranks the turns behind are reused.
    const bool renumbers = std::string(kv).find("renumber") != std::string::npos;
    if (renumbers) EXPECT_GT(n_reused, 12 * n_dropped);
  }
}

TEST_F(EngineKv, TurnsComputedAnewAreThoseOfAShorterConversation) {
  Turns talk("overflow=drop-turns", 160);
  Result<GenerateResult> last = Status::NotFound("");
  do {
    last = talk.Take();
    ASSERT_TRUE(last.ok());
  } while (last->n_turns_dropped == 0);
  std::vector<TokenId> prompt(talk.prompt().begin(), talk.prompt().end() - 12);
  const auto exact = Load("exact");
  GenerateOptions options;
  options.sampling.temperature = 0;
  options.n_predict = 12;
  options.ignore_eos = true;
  const auto want = (*(*exact)->NewSession())->Generate(prompt, options);
  ASSERT_TRUE(want.ok());
  EXPECT_EQ(last->tokens, want->tokens);
}

TEST_F(EngineKv, DroppedTurnsFreeBytesUnderALimit) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers hold bytes of their own, more with every engine";
#endif
  const int64_t idle = Turns("overflow=drop-turns", 512).engine().bytes_held();
  Turns free("overflow=drop-turns", 4096), tight("overflow=drop-turns", 4096, idle + (3 << 20));
  int64_t n_dropped = 0;
  for (int i = 0; i < 40; ++i) {
    ASSERT_TRUE(free.Take().ok());
    const auto result = tight.Take();
    ASSERT_TRUE(result.ok()) << i << ": " << result.status().ToString();
    n_dropped += result->n_turns_dropped;
  }
  EXPECT_GT(n_dropped, 0);
  EXPECT_LT(tight.session().kv_bytes(), free.session().kv_bytes());
  EXPECT_LE(tight.engine().bytes_peak(), idle + (3 << 20));
}

TEST_F(EngineKv, RefusesToDropTurnsWhereThereAreNone) {
  EXPECT_EQ(Load("overflow=drop-turns").status().message(),
            "recipe: overflow=drop-turns needs the turns of a conversation, and there are none "
            "here: `kvasir chat` has them");
  Turns talk("overflow=drop-turns", 64);
  GenerateOptions options;
  options.turns = {5, 3};
  const Status backwards =
      talk.session().Generate(talk.engine().Tokenize("a b c d e f g"), options).status();
  EXPECT_EQ(backwards.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(backwards.message().find("turns: entry 1"), std::string::npos) << backwards.message();
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
