#include "kvasir/model/synth.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>

#include "kvasir/model/gguf_model.h"
#include "kvasir/model/gguf_testing.h"
#include "kvasir/model/reference_forward_testing.h"

namespace kvasir {
namespace {

using testing::HasSubstr;
using testing_gguf::Bytes;
using testing_gguf::TinyModel;

std::string MadeWith(std::string_view shape, const SynthOptions& options,
                     std::vector<std::string>* notes = nullptr) {
  auto writer = MakeSynthModel(*FindSynthShape(shape), options, notes);
  EXPECT_TRUE(writer.ok()) << writer.status().ToString();
  return writer->ToBytes().value();
}

TEST(Synth, TheSameSeedGivesTheSameBytesOnAnyNumberOfThreads) {
  const SynthOptions one = {.type = TensorType::kQ8_0, .seed = 7, .n_thread = 1};
  const SynthOptions three = {.type = TensorType::kQ8_0, .seed = 7, .n_thread = 3};
  const SynthOptions other = {.type = TensorType::kQ8_0, .seed = 8, .n_thread = 1};
  EXPECT_EQ(MadeWith("tiny-llama", one), MadeWith("tiny-llama", three));
  EXPECT_NE(MadeWith("tiny-llama", one), MadeWith("tiny-llama", other));
}

TEST(Synth, RowsThatDoNotFitABlockFallBackAndSaySo) {
  std::vector<std::string> notes;
  const std::string bytes = MadeWith("tiny-llama3", {.type = TensorType::kQ4_K}, &notes);
  EXPECT_TRUE(notes.empty());
  MadeWith("tiny-llama", {.type = TensorType::kQ4_K}, &notes);
  ASSERT_EQ(notes.size(), 2u);
  EXPECT_EQ(notes[0], "rows of 64 are not a multiple of q4_k's block of 256: stored as q8_0");
}

TEST(Synth, EveryTypeLoads) {
  for (const char* name :
       {"f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "q4_k", "q5_k", "q6_k"}) {
    const TensorType type = FindTensorType(name)->type;
    const std::string bytes = MadeWith("tiny-llama3", {.type = type});
    auto file = GgufFile::FromMemory(Bytes(bytes), name);
    auto model = BuildGgufModel(*file);
    ASSERT_TRUE(model.ok()) << model.status().ToString();
    EXPECT_EQ((*model)->weights.layers[0].wq.type, type) << name;
  }
}

TEST(Synth, VocabulariesFollowTheOption) {
  const std::string bytes = MadeWith("tiny-qwen3", {.n_vocab = 1000});
  auto file = GgufFile::FromMemory(Bytes(bytes), "memory");
  auto model = BuildGgufModel(*file);
  ASSERT_TRUE(model.ok());
  EXPECT_EQ((*model)->spec.n_vocab, 1000);
  EXPECT_EQ((*model)->tokenizer->n_vocab(), 1000);
  EXPECT_TRUE((*model)->tokenizer->IsEndOfGeneration((*model)->tokenizer->eos()));
  const auto small = MakeSynthModel(*FindSynthShape("tiny-llama"), {.n_vocab = 100}, nullptr);
  EXPECT_THAT(small.status().ToString(), HasSubstr("100 tokens"));
}

TEST(Synth, AnUnknownShapeIsAnsweredWithTheList) {
  EXPECT_THAT(FindSynthShape("llama-9").status().ToString(), HasSubstr("there are llama-3.2-1b"));
}

// Logits that neither explode nor collapse, and a model that does not merely repeat its input.
TEST(Synth, LogitsAreLikeThoseOfAModel) {
  for (const std::string& name : SynthShapeNames()) {
    if (!name.starts_with("tiny-")) continue;
    SCOPED_TRACE(name);
    const std::string bytes = TinyModel(name);
    auto file = GgufFile::FromMemory(Bytes(bytes), "memory");
    auto model = BuildGgufModel(*file);
    ASSERT_TRUE(model.ok());
    const std::vector<TokenId> tokens = {10, 300, 77, 411, 5, 260, 128, 33};
    const std::vector<double> logits = ReferenceLogits(**model, tokens, 512);
    const size_t n_vocab = logits.size() / tokens.size();
    int n_repeat = 0;
    for (size_t t = 0; t < tokens.size(); ++t) {
      const auto row = std::span(logits).subspan(t * n_vocab, n_vocab);
      double square = 0;
      for (const double x : row) square += x * x;
      const double deviation = std::sqrt(square / static_cast<double>(n_vocab));
      EXPECT_GT(deviation, 1.5);
      EXPECT_LT(deviation, 4.0);
      n_repeat += std::max_element(row.begin(), row.end()) - row.begin() == tokens[t];
    }
    EXPECT_LE(n_repeat, 4);
  }
}

}  // namespace
}  // namespace kvasir
