#include "kvasir/model/gguf.h"

#include <gmock/gmock.h>

#include <filesystem>

namespace kvasir {
namespace {

using testing::HasSubstr;

std::string SharedFile(const std::string& name) {
  return std::string(KVASIR_SHARED_DATA) + "/" + name;
}

TEST(GgufFile, ReadsThePublishedStoriesModel) {
  const std::string path = SharedFile("stories260K/stories260K.gguf");
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no " << path;
  auto file = GgufFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status().ToString();
  EXPECT_EQ(file->GetString("general.architecture").value(), "llama");
  EXPECT_EQ(file->GetU32("llama.block_count").value(), 5u);
  EXPECT_EQ(file->GetU32("llama.embedding_length").value(), 64u);
  EXPECT_EQ(file->GetStrings("tokenizer.ggml.tokens")->size(), 512u);
  const GgufTensor* embd = file->FindTensor("token_embd.weight");
  ASSERT_NE(embd, nullptr);
  EXPECT_EQ(embd->ShapeText(), "[64, 512]");
}

TEST(GgufFile, ReadsEveryPublishedVocabulary) {
  const std::string folder = SharedFile("tokenizers");
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "no " << folder;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".gguf") continue;
    auto file = GgufFile::Open(entry.path());
    ASSERT_TRUE(file.ok()) << file.status().ToString();
    EXPECT_EQ(file->GetStrings("tokenizer.ggml.tokens")->size(),
              file->GetI32s("tokenizer.ggml.token_type")->size());
  }
}

}  // namespace
}  // namespace kvasir
