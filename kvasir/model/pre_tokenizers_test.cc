#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "kvasir/core/mapped_file.h"
#include "kvasir/model/byte_alphabet.h"
#include "kvasir/model/text_pipeline.h"

namespace kvasir {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;

std::vector<std::string> Split(std::string_view name, std::string_view text) {
  const NamedPreTokenizer named = FindPreTokenizer(name).value();
  Words words;
  SplitWords(named.pipeline, text, true, words);
  std::vector<std::string> plain;
  for (const std::string_view word : words.words) plain.push_back(AlphabetToBytes(word));
  return plain;
}

// Word lengths by the `tokenizers` package (tools/make_pre_tokenizer_fixture.py).
TEST(PreTokenizers, CutAsTheFamiliesOwnTokenizersDo) {
  const json fixture = json::parse(
      ReadFile(std::string(KVASIR_SOURCE_DIR) + "/tests/fixtures/pre_tokenizers.json").value());
  const auto texts = fixture["texts"].get<std::vector<std::string>>();
  ASSERT_GE(fixture["families"].size(), 12u);
  for (const auto& [name, cases] : fixture["families"].items()) {
    ASSERT_EQ(cases.size(), texts.size());
    for (size_t i = 0; i < texts.size(); ++i) {
      std::vector<size_t> lengths;
      for (const std::string& word : Split(name, texts[i])) lengths.push_back(word.size());
      EXPECT_EQ(lengths, cases[i].get<std::vector<size_t>>()) << name << ": " << json(texts[i]);
    }
  }
}

TEST(PreTokenizers, KnowTheNamesOfSharedPatterns) {
  for (const char* name : {"llama3", "llama-v3", "dbrx", "smaug-bpe", "chatglm-bpe", "glm4"}) {
    EXPECT_EQ(Split(name, "It's 1234 a\n b"), Split("llama-bpe", "It's 1234 a\n b")) << name;
  }
  for (const char* name : {"deepseek-r1-qwen", "stablelm2", "hunyuan"}) {
    EXPECT_EQ(Split(name, "It's 1234 a\n b"), Split("qwen2", "It's 1234 a\n b")) << name;
  }
  for (const char* name : {"refact", "command-r", "smollm", "codeshell"}) {
    EXPECT_EQ(Split(name, "It's 1234 a\n b"), Split("starcoder", "It's 1234 a\n b")) << name;
  }
  for (const char* name : {"mpt", "olmo", "jais", "phi-2"}) {
    EXPECT_EQ(Split(name, "It's 1234 a\n b"), Split("gpt-2", "It's 1234 a\n b")) << name;
  }
}

TEST(PreTokenizers, CutBySmallRulesOfTheirOwn) {
  EXPECT_THAT(Split("default", "a+12345"), ElementsAre("a", "+", "123", "45"));
  EXPECT_THAT(Split("deepseek-llm", "ab \xE7\x8C\xAB\xE7\x8C\xAB 12"),
              ElementsAre("ab", " ", "\xE7\x8C\xAB\xE7\x8C\xAB", " ", "12"));
  EXPECT_THAT(Split("viking", "ab12, c"), ElementsAre("ab", "1", "2", ",", " c"));
  EXPECT_THAT(Split("tiny_aya", "1234567"), ElementsAre("1", "234", "567"));
  EXPECT_THAT(Split("jais-2", "a       b"), ElementsAre("a", "    ", "  ", " b"));
  EXPECT_THAT(Split("seed-coder", "a!\n"), ElementsAre("a", "!", "\n"));
  EXPECT_THAT(Split("ufakzeka", "It's"), ElementsAre("It", "'s"));
  EXPECT_THAT(Split("minicpm5", "1234"), ElementsAre("123", "4"));
}

TEST(PreTokenizers, RefuseANameTheyDoNotKnow) {
  const Status status = FindPreTokenizer("llama-9").status();
  EXPECT_EQ(status.code(), StatusCode::kUnsupported);
  EXPECT_EQ(status.message(), "tokenizer.ggml.pre: unknown pre-tokenizer 'llama-9'");
  EXPECT_EQ(FindPreTokenizer("").status().code(), StatusCode::kUnsupported);
}

TEST(PreTokenizers, SayWhoseFilesExpectBos) {
  EXPECT_TRUE(PreTokenizerAddsBos("llama-bpe"));
  EXPECT_TRUE(PreTokenizerAddsBos("tekken"));
  EXPECT_FALSE(PreTokenizerAddsBos("qwen2"));
  EXPECT_FALSE(PreTokenizerAddsBos("no-such-name"));
  EXPECT_TRUE(FindPreTokenizer("llama-bpe").value().ignore_merges);
  EXPECT_FALSE(FindPreTokenizer("gpt-2").value().ignore_merges);
}

}  // namespace
}  // namespace kvasir
