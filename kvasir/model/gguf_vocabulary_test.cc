#include "kvasir/model/gguf_vocabulary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "kvasir/model/gguf_writer.h"
#include "kvasir/model/tokenizer_json.h"

namespace kvasir {
namespace {

// Texts and ids that llama.cpp publishes beside its vocabulary files.
class PublishedVocabulary : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    path_ = std::string(KVASIR_SHARED_DATA) + "/tokenizers/ggml-vocab-" + GetParam() + ".gguf";
    if (!std::filesystem::exists(path_)) GTEST_SKIP() << path_ << " is absent";
    Result<GgufFile> file = GgufFile::Open(path_);
    ASSERT_TRUE(file.ok()) << file.status().ToString();
    Result<std::unique_ptr<Tokenizer>> tokenizer = TokenizerFromGguf(*file);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().ToString();
    tokenizer_ = std::move(*tokenizer);
  }

  std::vector<std::string> Texts() const {
    constexpr std::string_view kSeparator = "\n__ggml_vocab_test__\n";
    const std::string all = ReadFile(path_ + ".inp").value();
    std::vector<std::string> texts;
    size_t begin = 0;
    for (size_t end; (end = all.find(kSeparator, begin)) != std::string::npos;) {
      texts.push_back(all.substr(begin, end - begin));
      begin = end + kSeparator.size();
    }
    return texts;
  }

  std::vector<std::vector<TokenId>> Ids() const {
    std::istringstream lines(ReadFile(path_ + ".out").value());
    std::vector<std::vector<TokenId>> ids;
    for (std::string line; std::getline(lines, line);) {
      std::istringstream words(line);
      ids.emplace_back();
      for (TokenId id; words >> id;) ids.back().push_back(id);
    }
    return ids;
  }

  std::string path_;
  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_P(PublishedVocabulary, GivesThePublishedIds) {
  const std::vector<std::string> texts = Texts();
  const std::vector<std::vector<TokenId>> expected = Ids();
  ASSERT_EQ(texts.size(), expected.size());
  ASSERT_GT(texts.size(), 40u);
  for (size_t i = 0; i < texts.size(); ++i) {
    EXPECT_EQ(tokenizer_->Encode(texts[i], {}), expected[i]) << "text " << i << ": " << texts[i];
  }
}

TEST_P(PublishedVocabulary, DecodesToTheText) {
  for (const std::string& text : Texts()) {
    EXPECT_EQ(tokenizer_->Decode(tokenizer_->Encode(text, {})).value(), text);
  }
}

// --- files of our own ---------------------------------------------------------------------------

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Result<std::unique_ptr<Tokenizer>> Load(const GgufWriter& writer) {
  const std::string bytes = writer.ToBytes().value();
  KVASIR_ASSIGN_OR_RETURN(const GgufFile file,
                          GgufFile::FromMemory(std::as_bytes(std::span(bytes)), "test.gguf"));
  return TokenizerFromGguf(file);
}

constexpr const char* kSpace = "\xE2\x96\x81";

// <unk> <s> </s> <|user|> a ▁a ▁, SentencePiece type.
GgufWriter SpmFile() {
  GgufWriter writer;
  writer.AddString("tokenizer.ggml.model", "llama");
  writer.AddStrings("tokenizer.ggml.tokens",
                    std::vector<std::string>{"<unk>", "<s>", "</s>", "<|user|>", "a",
                                             std::string(kSpace) + "a", kSpace});
  writer.AddF32s("tokenizer.ggml.scores", std::vector<float>{0, 0, 0, 0, -1, -2, -3});
  writer.AddI32s("tokenizer.ggml.token_type", std::vector<int32_t>{2, 3, 3, 3, 1, 1, 1});
  return writer;
}

// a b ab, byte-level.
GgufWriter BpeFile(const std::string& merge = "a b") {
  GgufWriter writer;
  writer.AddString("tokenizer.ggml.model", "gpt2");
  writer.AddStrings("tokenizer.ggml.tokens", std::vector<std::string>{"a", "b", "ab"});
  writer.AddStrings("tokenizer.ggml.merges", std::vector<std::string>{merge});
  return writer;
}

TEST(GgufVocabulary, KnowsWhatSentencePieceFilesLeaveOut) {
  const auto tokenizer = Load(SpmFile()).value();
  EXPECT_EQ(tokenizer->bos(), 1);
  EXPECT_EQ(tokenizer->eos(), 2);
  EXPECT_TRUE(tokenizer->add_bos_by_default());
  EXPECT_TRUE(tokenizer->IsEndOfGeneration(2));
  EXPECT_THAT(tokenizer->Encode("a a", {}), ElementsAre(5, 5));
  EXPECT_THAT(tokenizer->Encode("z", {}), ElementsAre(6, 0));  // no byte tokens: unknown
}

TEST(GgufVocabulary, TakesWhatTheFileSays) {
  GgufWriter writer = SpmFile();
  writer.AddBool("tokenizer.ggml.add_bos_token", false);
  writer.AddBool("tokenizer.ggml.add_space_prefix", false);
  writer.AddU32("tokenizer.ggml.bos_token_id", UINT32_MAX);
  writer.AddU32("tokenizer.ggml.eos_token_id", 3);
  const auto tokenizer = Load(writer).value();
  EXPECT_EQ(tokenizer->bos(), -1);
  EXPECT_EQ(tokenizer->eos(), 3);
  EXPECT_FALSE(tokenizer->add_bos_by_default());
  EXPECT_THAT(tokenizer->Encode("a a", {}), ElementsAre(4, 5));
  EXPECT_EQ(tokenizer->Decode(tokenizer->Encode(" a", {})).value(), " a");
}

TEST(GgufVocabulary, LetsPhi3TokensSwallowTheSpaceAfterThem) {
  GgufWriter writer = SpmFile();
  EXPECT_THAT(Load(writer).value()->Encode("<|user|> a", {.parse_special = true}),
              ElementsAre(3, 6, 5));
  writer.AddString("general.name", "Phi3 mini");
  EXPECT_THAT(Load(writer).value()->Encode("<|user|> a", {.parse_special = true}),
              ElementsAre(3, 5));
  EXPECT_THAT(Load(writer).value()->Encode("<s> a", {.parse_special = true}), ElementsAre(1, 6, 5));
}

TEST(GgufVocabulary, NamesTheKeyThatIsWrong) {
  const auto message = [](const GgufWriter& writer) { return Load(writer).status().message(); };
  GgufWriter other;
  other.AddString("tokenizer.ggml.model", "bert");
  EXPECT_THAT(message(other), HasSubstr("tokenizer.ggml.model: expected 'llama' or 'gpt2'"));
  EXPECT_THAT(message(GgufWriter()), HasSubstr("tokenizer.ggml.model"));
  EXPECT_THAT(message(BpeFile("ab")), HasSubstr("tokenizer.ggml.merges[0]: expected two parts"));
  EXPECT_THAT(message(BpeFile("a ")), HasSubstr("tokenizer.ggml.merges[0]"));
  EXPECT_THAT(message(BpeFile("")), HasSubstr("tokenizer.ggml.merges[0]"));
  EXPECT_THAT(message(BpeFile("a c")), HasSubstr("merge 0: expected 'c'"));

  GgufWriter unknown_pre = BpeFile();
  unknown_pre.AddString("tokenizer.ggml.pre", "who-knows");
  EXPECT_EQ(message(unknown_pre),
            "test.gguf: tokenizer.ggml.pre: unknown pre-tokenizer 'who-knows'");
  EXPECT_EQ(Load(unknown_pre).status().code(), StatusCode::kUnsupported);
  EXPECT_TRUE(Load(BpeFile()).ok());  // none named: the default

  GgufWriter kinds = BpeFile();
  kinds.AddI32s("tokenizer.ggml.token_type", std::vector<int32_t>{1, 1});
  EXPECT_THAT(message(kinds), HasSubstr("token_type: expected 3 elements, one a token, found 2"));
  GgufWriter kind = BpeFile();
  kind.AddI32s("tokenizer.ggml.token_type", std::vector<int32_t>{1, 1, 9});
  EXPECT_THAT(message(kind), HasSubstr("token_type: expected types from 1 to 6, found 9"));
  GgufWriter id = BpeFile();
  id.AddU32("tokenizer.ggml.eos_token_id", 3);
  EXPECT_THAT(message(id), HasSubstr("eos: expected an id below 3, found 3"));
  GgufWriter huge = BpeFile();
  huge.AddU32("tokenizer.ggml.eos_token_id", 4'000'000'000u);
  EXPECT_THAT(message(huge), HasSubstr("tokenizer.ggml.eos_token_id"));
}

// The same vocabulary in both kinds of file gives the same ids.
TEST(GgufVocabulary, AgreesWithTheTokenizerJsonItCameFrom) {
  const std::string folder = std::string(KVASIR_SOURCE_DIR) + "/tests/fixtures/tokenizers/llama3";
  const std::string document = ReadFile(folder + "/tokenizer.json").value();
  const VocabularySpec spec = VocabularyFromJson({document, "", "", ""}).value();
  std::vector<int32_t> types;
  for (const TokenKind kind : spec.kinds) {
    types.push_back(kind == TokenKind::kControl ? 3 : kind == TokenKind::kUserDefined ? 4 : 1);
  }
  std::vector<std::string> merges;
  for (const auto& [left, right] : spec.merges) merges.push_back(left + " " + right);
  GgufWriter writer;
  writer.AddString("tokenizer.ggml.model", "gpt2");
  writer.AddString("tokenizer.ggml.pre", "llama-bpe");
  writer.AddStrings("tokenizer.ggml.tokens", spec.tokens);
  writer.AddI32s("tokenizer.ggml.token_type", types);
  writer.AddStrings("tokenizer.ggml.merges", merges);
  const auto tokenizer = Load(writer).value();
  EXPECT_TRUE(tokenizer->add_bos_by_default());
  const auto cases = nlohmann::json::parse(ReadFile(folder + "/cases.json").value());
  for (const auto& one : cases) {
    EXPECT_EQ(tokenizer->Encode(one["text"].get<std::string>(), {.parse_special = true}),
              one["ids"].get<std::vector<TokenId>>())
        << one["text"];
  }
}

INSTANTIATE_TEST_SUITE_P(All, PublishedVocabulary,
                         testing::Values("llama-spm", "phi-3", "gpt-2", "deepseek-coder", "falcon"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace kvasir
