#include "kvasir/model/gguf_vocabulary.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <sstream>

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

INSTANTIATE_TEST_SUITE_P(All, PublishedVocabulary,
                         testing::Values("llama-spm", "phi-3", "gpt-2", "deepseek-coder", "falcon"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace kvasir
