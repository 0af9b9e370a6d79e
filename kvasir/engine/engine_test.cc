// What a caller of the engine may ask of ids that the vocabulary or the model lacks.
#include "kvasir/engine.h"

#include <gmock/gmock.h>

#include <string>
#include <vector>

#include "kvasir/core/file_testing.h"
#include "kvasir/model/gguf_testing.h"
#include "kvasir/model/synth.h"

namespace kvasir {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int32_t kRows = 512, kSpelled = 480;

// 512 rows of logits, 480 tokens: published vocabularies are padded to a round number.
std::string PaddedModel() {
  return testing_gguf::Rewrite(
      testing_gguf::TinyModel("tiny-qwen2"),
      {.drop_keys = {"tokenizer.ggml.model", "tokenizer.ggml.pre", "tokenizer.ggml.tokens",
                     "tokenizer.ggml.token_type", "tokenizer.ggml.merges",
                     "tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id",
                     "tokenizer.ggml.eot_token_id", "tokenizer.ggml.add_bos_token",
                     "tokenizer.chat_template"},
       .add = [](GgufWriter& writer) { EXPECT_TRUE(AddSynthVocabulary(kSpelled, &writer).ok()); }});
}

class EngineIds : public ::testing::Test {
 protected:
  void Load(const std::string& path) {
    auto engine = Engine::Load({.model_path = path, .n_thread = 2});
    ASSERT_TRUE(engine.ok()) << engine.status().ToString();
    engine_ = *engine;
    session_ = std::move(*engine_->NewSession());
  }
  Result<GenerateResult> Generate(std::vector<TokenId> prompt, GenerateOptions options = {}) {
    options.n_predict = 4;
    options.sampling.temperature = 0;
    return session_->Generate(prompt, options);
  }

  TemporaryDirectory directory_;
  std::shared_ptr<Engine> engine_;
  std::unique_ptr<Session> session_;
};

TEST_F(EngineIds, RowsThatPadTheVocabularyCanBeSampledAndPrintNothing) {
  ASSERT_NO_FATAL_FAILURE(Load(directory_.Write("padded.gguf", PaddedModel())));
  ASSERT_EQ(engine_->n_vocab(), kRows);
  GenerateOptions options;
  options.n_logprobs = 3;
  options.sampling.logit_bias = {{kRows - 1, 1000.0f}};
  auto result = Generate(engine_->Tokenize("ab"), options);
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  EXPECT_THAT(result->tokens, ElementsAre(kRows - 1, kRows - 1, kRows - 1, kRows - 1));
  EXPECT_EQ(result->text, "");
  EXPECT_EQ(engine_->Detokenize(result->tokens).value(), "");
}

TEST_F(EngineIds, RowsThatPadTheVocabularyAreValidInAPrompt) {
  ASSERT_NO_FATAL_FAILURE(Load(directory_.Write("padded.gguf", PaddedModel())));
  EXPECT_TRUE(Generate({kSpelled, 5, kRows - 1}).ok());
  EXPECT_EQ(engine_->Detokenize(std::vector<TokenId>{kSpelled, 'a', kRows - 1}).value(), "a");
}

TEST_F(EngineIds, AnIdOutsideTheModelIsNamedWithItsIndex) {
  ASSERT_NO_FATAL_FAILURE(Load(directory_.Write("padded.gguf", PaddedModel())));
  for (const TokenId id : {-1, kRows, INT32_MAX, INT32_MIN}) {
    const std::vector<TokenId> ids = {5, 6, id};
    const std::string expected = "index 2: expected 0 to 511, found " + std::to_string(id);
    EXPECT_THAT(Generate(ids).status().message(), HasSubstr(expected));
    EXPECT_THAT(engine_->Detokenize(ids).status().message(), HasSubstr(expected));
    EXPECT_THAT(session_->Logits(ids, [](int64_t, int64_t, const float*) { return Status::Ok(); })
                    .message(),
                HasSubstr(expected));
  }
}

// As gemma-3-1b, whose tokenizer names an image token that its matrices have no row for.
TEST_F(EngineIds, ATokenBeyondTheRowsIsRefusedBeforeItIsLookedUp) {
  const std::string folder = directory_.CopyOf(KVASIR_SOURCE_DIR "/tests/fixtures/models/llama");
  std::string tokenizer = ReadText(folder + "/tokenizer.json");
  const std::string list = "\"added_tokens\": [";
  tokenizer.insert(tokenizer.find(list) + list.size(),
                   R"({"id": 96, "content": "<image>", "special": false},)");
  std::ofstream(folder + "/tokenizer.json", std::ios::binary) << tokenizer;
  ASSERT_NO_FATAL_FAILURE(Load(folder));
  ASSERT_EQ(engine_->n_vocab(), 96);

  const std::vector<TokenId> ids = engine_->Tokenize("<image>");
  ASSERT_EQ(ids.back(), 96);
  const auto refused = Generate(ids);
  EXPECT_EQ(refused.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(refused.status().message(), HasSubstr("expected 0 to 95, found 96"));
  EXPECT_EQ(engine_->Detokenize(ids).value(), "<image>");
  EXPECT_TRUE(Generate(engine_->Tokenize("a")).ok());
}

// Nobody asks what would follow the last token; a call that goes on runs it then.
TEST_F(EngineIds, TheLastTokenAskedForIsNotRun) {
  ASSERT_NO_FATAL_FAILURE(Load(directory_.Write("padded.gguf", PaddedModel())));
  const auto first = Generate({5, 6, 7});
  ASSERT_TRUE(first.ok()) << first.status().ToString();
  EXPECT_EQ(first->finish, FinishReason::kLength);
  ASSERT_EQ(first->tokens.size(), 4u);
  EXPECT_EQ(first->n_decoded, 3);
  EXPECT_EQ(session_->tokens().size(), 6u);

  std::vector<TokenId> longer = {5, 6, 7};
  longer.insert(longer.end(), first->tokens.begin(), first->tokens.end());
  const auto held = Generate(longer);
  ASSERT_TRUE(held.ok());
  EXPECT_EQ(held->n_cached, 6);
  session_->Clear();
  EXPECT_EQ(Generate(longer)->tokens, held->tokens);
}

TEST(EngineLoad, SaysHowManyThreadsTheSystemGave) {
  const TemporaryDirectory directory;
  const std::string path = directory.Write("m.gguf", testing_gguf::TinyModel("tiny-llama"));
  const auto engine = Engine::Load({.model_path = path, .n_thread = 3});
  ASSERT_TRUE(engine.ok()) << engine.status().ToString();
  EXPECT_EQ((*engine)->options().n_thread, 3);
  EXPECT_THAT(Engine::Load({.model_path = path, .n_thread = 2000}).status().message(),
              HasSubstr("threads: expected 0 to 1024, found 2000"));
}

}  // namespace
}  // namespace kvasir
