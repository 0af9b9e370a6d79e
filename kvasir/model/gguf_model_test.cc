#include "kvasir/model/gguf_model.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <cmath>
#include <cstring>
#include <filesystem>

#include "kvasir/kernels/matmul.h"
#include "kvasir/model/gguf_spec.h"
#include "kvasir/model/gguf_testing.h"
#include "kvasir/model/synth.h"

namespace kvasir {
namespace {

using testing::AllOf;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing_gguf::Bytes;
using testing_gguf::Edit;
using testing_gguf::Rewrite;
using testing_gguf::TinyModel;

// A model built from bytes, which it keeps.
class Built {
 public:
  explicit Built(std::string bytes) : bytes_(std::move(bytes)) {
    auto file = GgufFile::FromMemory(Bytes(bytes_), "memory");
    if (!file.ok()) {
      status_ = file.status();
      return;
    }
    auto model = BuildGgufModel(*file);
    status_ = model.status();
    if (model.ok()) model_ = *model;
  }
  bool ok() const { return model_ != nullptr; }
  std::string error() const { return ok() ? "ok" : status_.ToString(); }
  const Model* operator->() const { return model_.get(); }

 private:
  std::string bytes_;
  Status status_;
  std::shared_ptr<const Model> model_;
};

// The tiny model of a shape with keys replaced.
Built BuiltWith(std::string_view shape, std::vector<std::string_view> drop,
                const std::function<void(GgufWriter&)>& add) {
  return Built(Rewrite(TinyModel(shape), {.drop_keys = std::move(drop), .add = add}));
}

void ExpectShape(const Tensor& tensor, int64_t rows, int64_t cols) {
  EXPECT_EQ(tensor.rows, rows);
  EXPECT_EQ(tensor.cols, cols);
  EXPECT_FALSE(tensor.empty());
}

TEST(GgufModel, EveryTinyShapeLoads) {
  for (const std::string& name : SynthShapeNames()) {
    if (!name.starts_with("tiny-")) continue;
    SCOPED_TRACE(name);
    const Built model(TinyModel(name));
    ASSERT_TRUE(model.ok()) << model.error();
    const ModelSpec want = FindSynthShape(name)->spec;
    const ModelSpec& spec = model->spec;
    EXPECT_EQ(spec.name, name);
    EXPECT_EQ(spec.n_layer, want.n_layer);
    EXPECT_EQ(spec.n_kv_head, want.n_kv_head);
    EXPECT_EQ(spec.head_dim, want.head_dim);
    EXPECT_EQ(spec.window, want.window);
    EXPECT_EQ(spec.uses_local_rope, want.uses_local_rope);
    EXPECT_EQ(spec.norm_eps, want.norm_eps);
    EXPECT_EQ(spec.rope.freq_base, want.rope.freq_base);
    ASSERT_EQ(model->weights.layers.size(), static_cast<size_t>(want.n_layer));
    for (const LayerWeights& layer : model->weights.layers) {
      ExpectShape(layer.wq, want.n_head * want.head_dim, want.n_embd);
      ExpectShape(layer.wk, want.n_kv_head * want.head_dim, want.n_embd);
      ExpectShape(layer.wv, want.n_kv_head * want.head_dim, want.n_embd);
      ExpectShape(layer.wo, want.n_embd, want.n_head * want.head_dim);
      ExpectShape(layer.w_gate, want.n_ff, want.n_embd);
      ExpectShape(layer.w_up, want.n_ff, want.n_embd);
      ExpectShape(layer.w_down, want.n_embd, want.n_ff);
      const std::string& arch = spec.architecture;
      const bool qk_norms = arch == "qwen3" || arch == "gemma3";
      EXPECT_EQ(layer.q_norm.size(), qk_norms ? static_cast<size_t>(want.head_dim) : 0);
      EXPECT_EQ(layer.bq.empty(), arch != "qwen2");
      EXPECT_EQ(layer.ffn_post_norm.empty(), !arch.starts_with("gemma"));
    }
    EXPECT_EQ(model->tokenizer->n_vocab(), 512);
    EXPECT_FALSE(model->chat_template.empty());
  }
}

TEST(GgufModel, TheSynthVocabularyEncodesAndDecodes) {
  const Built model(TinyModel("tiny-llama"));
  ASSERT_TRUE(model.ok()) << model.error();
  const std::string text = "the cat\n\xc3\xa9\x01 and \xff";
  const auto ids = model->tokenizer->Encode(text, {.add_bos = false, .parse_special = false});
  EXPECT_LT(ids.size(), text.size());
  EXPECT_EQ(model->tokenizer->Decode(ids).value(), text);
}

TEST(GgufModel, TiedEmbeddingsShareOneView) {
  const Built tied(TinyModel("tiny-llama"));
  EXPECT_EQ(tied->weights.output.data, tied->weights.token_embd.data);
  const Built untied(TinyModel("tiny-mistral"));
  EXPECT_NE(untied->weights.output.data, untied->weights.token_embd.data);
}

TEST(GgufModel, FusedPhi3RowsAreTakenApartInOrder) {
  const std::string bytes = TinyModel("tiny-phi3");
  const Built model(bytes);
  ASSERT_TRUE(model.ok()) << model.error();
  auto file = GgufFile::FromMemory(Bytes(bytes), "memory");
  const auto same = [](const Tensor& part, const GgufTensor* whole, int64_t first_row) {
    const auto n = static_cast<size_t>(part.rows) * part.row_bytes;
    const auto at = static_cast<size_t>(first_row) * part.row_bytes;
    return std::memcmp(part.data, whole->data.data() + at, n) == 0;
  };
  const LayerWeights& layer = model->weights.layers[1];
  const GgufTensor* qkv = file->FindTensor("blk.1.attn_qkv.weight");
  EXPECT_TRUE(same(layer.wq, qkv, 0));
  EXPECT_TRUE(same(layer.wk, qkv, 96));
  EXPECT_TRUE(same(layer.wv, qkv, 192));
  const GgufTensor* gate_up = file->FindTensor("blk.1.ffn_up.weight");
  EXPECT_TRUE(same(layer.w_gate, gate_up, 0));
  EXPECT_TRUE(same(layer.w_up, gate_up, 128));
}

TEST(GgufModel, NormsOfHalfPrecisionBecomeFloats) {
  std::vector<float> values(64);
  for (size_t i = 0; i < values.size(); ++i) values[i] = 0.5f + static_cast<float>(i) / 64;
  for (const TensorType type : {TensorType::kF16, TensorType::kBF16}) {
    std::vector<std::byte> raw(128);
    QuantizeRow(type, values.data(), raw.data(), 64);
    const Built model(Rewrite(TinyModel("tiny-llama"),
                              {.drop_tensors = {"output_norm.weight"}, .add = [&](GgufWriter& w) {
                                 w.AddTensor("output_norm.weight", type, {64}, raw);
                               }}));
    ASSERT_TRUE(model.ok()) << model.error();
    EXPECT_EQ(model->weights.output_norm, values);
  }
}

TEST(GgufModel, AQuantisedNormIsRefused) {
  const Built model(Rewrite(TinyModel("tiny-llama"),
                            {.drop_tensors = {"output_norm.weight"}, .add = [&](GgufWriter& w) {
                               w.AddTensor("output_norm.weight", TensorType::kQ8_0, {64},
                                           std::vector<std::byte>(68));
                             }}));
  EXPECT_THAT(model.error(), AllOf(HasSubstr("output_norm.weight"), HasSubstr("q8_0")));
}

TEST(GgufModel, NamesEveryMissingTensor) {
  for (const char* shape : {"tiny-llama", "tiny-qwen2", "tiny-gemma3", "tiny-phi3"}) {
    const std::string bytes = TinyModel(shape);
    auto file = GgufFile::FromMemory(Bytes(bytes), "memory");
    for (const GgufTensor& tensor : file->tensors()) {
      if (tensor.name == "output.weight") continue;  // absent means tied
      const Built model(Rewrite(bytes, {.drop_tensors = {tensor.name}}));
      EXPECT_EQ(model.error(),
                fmt::format("not_found: memory: tensor '{}' is missing", tensor.name));
    }
  }
}

TEST(GgufModel, NamesEveryTensorOfTheWrongShape) {
  const std::string bytes = TinyModel("tiny-qwen2");
  auto file = GgufFile::FromMemory(Bytes(bytes), "memory");
  for (const GgufTensor& tensor : file->tensors()) {
    const Built model(Rewrite(
        bytes, {.drop_tensors = {tensor.name}, .add = [&](GgufWriter& w) {
                  w.AddTensor(tensor.name, TensorType::kF32, {3, 5}, std::vector<std::byte>(60));
                }}));
    EXPECT_EQ(model.error(),
              fmt::format("corruption: memory: tensor '{}': expected shape {}, found [3, 5]",
                          tensor.name, tensor.ShapeText()));
  }
}

TEST(GgufModel, RefusesWhatItDoesNotRunByName) {
  const auto with_tensor = [](const char* name) {
    return Built(Rewrite(TinyModel("tiny-llama"), {.add =
                                                       [&](GgufWriter& w) {
                                                         w.AddTensor(name, TensorType::kF32, {1},
                                                                     Bytes("abcd"));
                                                       }}))
        .error();
  };
  EXPECT_THAT(with_tensor("blk.0.ffn_gate_exps.weight"),
              AllOf(HasSubstr("unsupported"), HasSubstr("ffn_gate_exps"), HasSubstr("experts")));
  EXPECT_THAT(with_tensor("blk.0.ssm_a"), HasSubstr("state-space"));
  EXPECT_THAT(with_tensor("blk.7.attn_q.weight"), HasSubstr("'blk.7.attn_q.weight'"));
  const auto with_key = [](const char* key, uint32_t value) {
    return BuiltWith("tiny-llama", {}, [&](GgufWriter& w) { w.AddU32(key, value); }).error();
  };
  EXPECT_THAT(with_key("llama.expert_count", 8), HasSubstr("'llama.expert_count'"));
  EXPECT_EQ(with_key("llama.expert_count", 0), "ok");
  EXPECT_THAT(with_key("llama.attention.kv_lora_rank", 512), HasSubstr("kv_lora_rank"));
  for (const char* arch : {"qwen3next", "gemma4", "deepseek2", "llama4", ""}) {
    const Built model = BuiltWith("tiny-llama", {"general.architecture"}, [&](GgufWriter& w) {
      w.AddString("general.architecture", arch);
    });
    EXPECT_THAT(model.error(), AllOf(HasSubstr("unsupported"), HasSubstr(fmt::format("'{}'", arch)),
                                     HasSubstr("supported are llama")));
  }
}

TEST(GgufModel, NamesMissingKeys) {
  for (const char* key : {"llama.block_count", "llama.embedding_length", "llama.context_length",
                          "llama.feed_forward_length", "llama.attention.head_count",
                          "llama.attention.layer_norm_rms_epsilon"}) {
    EXPECT_EQ(BuiltWith("tiny-llama", {key}, {}).error(),
              fmt::format("not_found: memory: key '{}' is missing", key));
  }
}

TEST(GgufModel, DefaultsStandInForOptionalKeys) {
  const Built model =
      BuiltWith("tiny-llama",
                {"llama.attention.key_length", "llama.attention.value_length", "llama.vocab_size",
                 "llama.rope.dimension_count", "llama.rope.freq_base"},
                {});
  ASSERT_TRUE(model.ok()) << model.error();
  EXPECT_EQ(model->spec.head_dim, 16);
  EXPECT_EQ(model->spec.n_vocab, 512);
  EXPECT_EQ(model->spec.rope.n_rot, 16);
  EXPECT_EQ(model->spec.rope.freq_base, 10000.0);
  EXPECT_EQ(model->spec.rope.pairing, RopePairing::kAdjacent);
  EXPECT_FLOAT_EQ(model->spec.attn_scale, 0.25f);
}

TEST(GgufModel, LayerArraysMustBeUniform) {
  const auto with_heads = [](const std::vector<int32_t>& heads) {
    return BuiltWith("tiny-llama", {"llama.attention.head_count_kv"},
                     [&](GgufWriter& w) { w.AddI32s("llama.attention.head_count_kv", heads); })
        .error();
  };
  EXPECT_EQ(with_heads({2, 2}), "ok");
  EXPECT_THAT(with_heads({2, 4}), AllOf(HasSubstr("unsupported"), HasSubstr("head_count_kv"),
                                        HasSubstr("2 in layer 0, 4 in layer 1")));
  EXPECT_THAT(with_heads({2}), HasSubstr("each of 2 layers, found 1"));
  EXPECT_THAT(with_heads({3, 3}), HasSubstr("3 does not divide head_count 4"));
  EXPECT_THAT(with_heads({0, 0}), HasSubstr("found 0"));
}

TEST(GgufModel, KeysAndValuesOfDifferentLengthAreRefused) {
  const Built model = BuiltWith("tiny-llama", {"llama.attention.value_length"},
                                [](GgufWriter& w) { w.AddU32("llama.attention.value_length", 8); });
  EXPECT_THAT(model.error(), AllOf(HasSubstr("value_length"), HasSubstr("is 8"), HasSubstr("16")));
}

TEST(GgufModel, AbsurdSizesAreRefusedBeforeAnythingIsBuilt) {
  for (const char* key : {"llama.block_count", "llama.embedding_length",
                          "llama.feed_forward_length", "llama.attention.head_count"}) {
    for (const uint32_t value : {0u, UINT32_MAX}) {
      const Built model =
          BuiltWith("tiny-llama", {key}, [&](GgufWriter& w) { w.AddU32(key, value); });
      EXPECT_THAT(model.error(), AllOf(HasSubstr(key), HasSubstr(fmt::format("found {}", value))));
    }
  }
}

TEST(GgufModel, RefusesAVocabularyLargerThanTheLogits) {
  const Built model = BuiltWith("tiny-llama", {"llama.vocab_size"},
                                [](GgufWriter& w) { w.AddU32("llama.vocab_size", 256); });
  EXPECT_THAT(model.error(), HasSubstr("expected shape [64, 256], found [64, 512]"));
}

// --- RoPE ---

TEST(GgufModel, LinearScalingIsReadUnderBothNames) {
  for (const char* key : {"llama.rope.scaling.factor", "llama.rope.scale_linear"}) {
    const Built model = BuiltWith("tiny-llama", {}, [&](GgufWriter& w) { w.AddF32(key, 4.0f); });
    ASSERT_TRUE(model.ok()) << model.error();
    EXPECT_EQ(model->spec.rope.scaling, RopeScaling::kLinear);
    EXPECT_EQ(model->spec.rope.factor, 4.0);
  }
  const Built none = BuiltWith("tiny-llama", {}, [](GgufWriter& w) {
    w.AddString("llama.rope.scaling.type", "none");
    w.AddF32("llama.rope.scaling.factor", 4.0f);
  });
  EXPECT_EQ(none->spec.rope.scaling, RopeScaling::kNone);
  EXPECT_EQ(none->spec.rope.factor, 1.0);
}

TEST(GgufModel, YarnIsResolved) {
  const Built model = BuiltWith("tiny-qwen2", {}, [](GgufWriter& w) {
    w.AddString("qwen2.rope.scaling.type", "yarn");
    w.AddF32("qwen2.rope.scaling.factor", 4.0f);
    w.AddU32("qwen2.rope.scaling.original_context_length", 128);
    w.AddF32("qwen2.rope.scaling.yarn_beta_fast", 16.0f);
  });
  ASSERT_TRUE(model.ok()) << model.error();
  EXPECT_EQ(model->spec.rope.scaling, RopeScaling::kYarn);
  EXPECT_EQ(model->spec.rope.factor, 4.0);
  EXPECT_EQ(model->spec.rope.original_context, 128);
  EXPECT_EQ(model->spec.rope.beta_fast, 16.0);
  EXPECT_EQ(model->spec.rope.attn_factor, 0.0);
  const Built scaled = BuiltWith("tiny-qwen2", {}, [](GgufWriter& w) {
    w.AddString("qwen2.rope.scaling.type", "yarn");
    w.AddF32("qwen2.rope.scaling.factor", 4.0f);
    w.AddF32("qwen2.rope.scaling.attn_factor", 0.5f);
  });
  EXPECT_NEAR(scaled->spec.rope.attn_factor, 0.5 * (1 + 0.1 * std::log(4.0)), 1e-12);
}

TEST(GgufModel, LongRopeByNameNeedsItsFactors) {
  const Built model = BuiltWith(
      "tiny-llama", {}, [](GgufWriter& w) { w.AddString("llama.rope.scaling.type", "longrope"); });
  EXPECT_THAT(model.error(), HasSubstr("'rope_factors_long.weight' is missing"));
}

TEST(GgufModel, UnknownScalingIsRefusedByName) {
  const Built model = BuiltWith(
      "tiny-llama", {}, [](GgufWriter& w) { w.AddString("llama.rope.scaling.type", "dynamic"); });
  EXPECT_THAT(model.error(), AllOf(HasSubstr("unsupported"), HasSubstr("'dynamic'")));
}

// Llama 3.1's published rule: fast channels keep their frequency, slow ones are divided by 8.
TEST(GgufModel, Llama3DivisorsComeFromTheTensor) {
  const Built model(TinyModel("tiny-llama3"));
  ASSERT_TRUE(model.ok()) << model.error();
  const std::vector<float>& divisors = model->spec.rope.freq_divisors;
  ASSERT_EQ(divisors.size(), 32u);
  EXPECT_EQ(divisors.front(), 1.0f);
  EXPECT_EQ(divisors.back(), 8.0f);
  EXPECT_TRUE(std::is_sorted(divisors.begin(), divisors.end()));
}

Built Phi3WithFactors(bool with_short, float value, bool with_magnitude) {
  return Built(Rewrite(TinyModel("tiny-phi3"),
                       {.drop_keys = {"phi3.context_length"}, .add = [=](GgufWriter& w) {
                          w.AddU32("phi3.context_length", 4096);
                          w.AddU32("phi3.rope.scaling.original_context_length", 128);
                          if (with_magnitude) w.AddF32("phi3.rope.scaling.attn_factor", 1.25f);
                          const std::vector<float> factors(12, value);
                          const auto bytes = std::as_bytes(std::span(factors));
                          w.AddTensor("rope_factors_long.weight", TensorType::kF32, {12}, bytes);
                          if (with_short) {
                            w.AddTensor("rope_factors_short.weight", TensorType::kF32, {12}, bytes);
                          }
                        }}));
}

TEST(GgufModel, LongRopeFactorsMakeLongRope) {
  const Built model = Phi3WithFactors(true, 2.0f, true);
  ASSERT_TRUE(model.ok()) << model.error();
  EXPECT_EQ(model->spec.rope.scaling, RopeScaling::kLongRope);
  EXPECT_EQ(model->spec.rope.original_context, 128);
  EXPECT_EQ(model->spec.rope.attn_factor, 1.25);
  EXPECT_THAT(model->spec.rope.long_factors, Each(2.0f));
  // 4096 / 128 = 32: sqrt(1 + ln 32 / ln 128) = sqrt(12/7)
  EXPECT_NEAR(Phi3WithFactors(true, 2.0f, false)->spec.rope.attn_factor, std::sqrt(12.0 / 7),
              1e-12);
  EXPECT_THAT(Phi3WithFactors(false, 2.0f, true).error(), HasSubstr("rope_factors_short.weight"));
  EXPECT_THAT(Phi3WithFactors(true, 0.0f, true).error(),
              HasSubstr("expected more than 0, found 0"));
}

// --- windows and scales ---

TEST(GgufModel, Gemma2AlternatesAndGemma3IsFiveToOne) {
  const Built gemma2(TinyModel("tiny-gemma2"));
  EXPECT_THAT(gemma2->spec.window, ElementsAre(32, 0, 32, 0));
  EXPECT_THAT(gemma2->spec.uses_local_rope, Each(false));
  EXPECT_EQ(gemma2->spec.attn_softcap, 50.0f);
  EXPECT_EQ(gemma2->spec.final_softcap, 30.0f);
  EXPECT_EQ(gemma2->spec.embedding_scale, 8.0f);
  EXPECT_EQ(gemma2->spec.activation, Activation::kGeluTanh);
  const Built gemma3(TinyModel("tiny-gemma3"));
  EXPECT_THAT(gemma3->spec.window, ElementsAre(32, 32, 32, 32, 32, 0, 32));
  EXPECT_THAT(gemma3->spec.uses_local_rope, ElementsAre(true, true, true, true, true, false, true));
  EXPECT_EQ(gemma3->spec.rope.freq_base, 1e6);
  EXPECT_EQ(gemma3->spec.rope_local.freq_base, 10000.0);
  EXPECT_EQ(gemma3->spec.attn_softcap, 0.0f);
}

TEST(GgufModel, Gemma3LocalLayersAreNotScaled) {
  const Built model = BuiltWith("tiny-gemma3", {}, [](GgufWriter& w) {
    w.AddString("gemma3.rope.scaling.type", "linear");
    w.AddF32("gemma3.rope.scaling.factor", 8.0f);
  });
  EXPECT_EQ(model->spec.rope.factor, 8.0);
  EXPECT_EQ(model->spec.rope_local.factor, 1.0);
  EXPECT_EQ(model->spec.rope_local.scaling, RopeScaling::kNone);
}

TEST(GgufModel, Gemma3NeedsItsWindow) {
  EXPECT_THAT(BuiltWith("tiny-gemma3", {"gemma3.attention.sliding_window"}, {}).error(),
              HasSubstr("'gemma3.attention.sliding_window' is missing"));
}

TEST(GgufModel, APatternInTheFileDecides) {
  const Built period = BuiltWith("tiny-gemma3", {}, [](GgufWriter& w) {
    w.AddU32("gemma3.attention.sliding_window_pattern", 3);
  });
  EXPECT_THAT(period->spec.window, ElementsAre(32, 32, 0, 32, 32, 0, 32));
  const Built list = BuiltWith("tiny-gemma2", {}, [](GgufWriter& w) {
    w.AddBools("gemma2.attention.sliding_window_pattern", {false, false, true, true});
  });
  EXPECT_THAT(list->spec.window, ElementsAre(0, 0, 32, 32));
}

TEST(GgufModel, MistralsWindowIsOnEveryLayer) {
  EXPECT_THAT(Built(TinyModel("tiny-mistral"))->spec.window, ElementsAre(32, 32, 32));
  EXPECT_THAT(Built(TinyModel("tiny-llama"))->spec.window, ElementsAre(0, 0));
}

// Metadata alone: what published files without the key have always meant.
std::vector<int32_t> LegacyPhi3Windows(uint32_t n_layer, uint32_t n_ctx, uint32_t n_kv_head) {
  ModelSpec spec = FindSynthShape("phi3-mini")->spec;
  spec.n_layer = static_cast<int32_t>(n_layer);
  spec.n_ctx_train = static_cast<int32_t>(n_ctx);
  spec.n_kv_head = static_cast<int32_t>(n_kv_head);
  GgufWriter writer;
  AddSpecKeys(spec, &writer);
  EXPECT_TRUE(AddSynthVocabulary(spec.n_vocab, &writer).ok());
  const std::string bytes =
      Rewrite(writer.ToBytes().value(), {.drop_keys = {"phi3.attention.sliding_window"}});
  auto file = GgufFile::FromMemory(Bytes(bytes), "memory");
  auto read = ReadGgufSpec(*file);
  EXPECT_TRUE(read.ok()) << read.status().ToString();
  return read->window;
}

TEST(GgufModel, Phi3FilesWithoutAWindowHaveTheirLegacyOne) {
  EXPECT_THAT(LegacyPhi3Windows(32, 4096, 32), Each(2047));
  EXPECT_THAT(LegacyPhi3Windows(40, 4096, 8), Each(2047));
  // 262144 and 131072 do not bind within the trained context.
  EXPECT_THAT(LegacyPhi3Windows(32, 131072, 32), Each(0));
  EXPECT_THAT(LegacyPhi3Windows(40, 131072, 8), Each(0));
}

TEST(GgufModel, The27BModelsScaleByWidthPerHead) {
  ModelSpec gemma3 = FindSynthShape("gemma3-1b")->spec;
  gemma3.n_layer = 62;
  gemma3.n_embd = 5376;
  gemma3.n_head = 32;
  gemma3.n_kv_head = 16;
  gemma3.head_dim = 128;
  gemma3.rope.n_rot = 128;
  const auto scale_of = [](const ModelSpec& spec) {
    GgufWriter writer;
    AddSpecKeys(spec, &writer);
    const std::string bytes = writer.ToBytes().value();
    auto file = GgufFile::FromMemory(Bytes(bytes), "memory");
    auto read = ReadGgufSpec(*file);
    EXPECT_TRUE(read.ok()) << read.status().ToString();
    return read.ok() ? read->attn_scale : 0.0f;
  };
  EXPECT_FLOAT_EQ(scale_of(gemma3), 1.0f / std::sqrt(168.0f));
  gemma3.n_layer = 48;
  EXPECT_FLOAT_EQ(scale_of(gemma3), 1.0f / std::sqrt(128.0f));
}

TEST(GgufModel, SamplingHintsAreTaken) {
  const Built model = BuiltWith("tiny-llama", {}, [](GgufWriter& w) {
    w.AddF32("general.sampling.temp", 0.6f);
    w.AddRaw("general.sampling.top_k", GgufType::kInt32, std::string("\x14\0\0\0", 4));
  });
  EXPECT_EQ(model->hints.temperature, 0.6f);
  EXPECT_EQ(model->hints.top_k, 20);
  EXPECT_LT(model->hints.top_p, 0.0f);
}

// --- files ---

TEST(LoadGgufModel, LoadsThePublishedStoriesModelWithProgress) {
  const std::string path = std::string(KVASIR_SHARED_DATA) + "/stories260K/stories260K.gguf";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no " << path;
  uint64_t done = 0, total = 0;
  auto model =
      LoadGgufModel(path, {.progress = [&](uint64_t d, uint64_t t) { done = d, total = t; }});
  ASSERT_TRUE(model.ok()) << model.status().ToString();
  EXPECT_EQ(done, std::filesystem::file_size(path));
  EXPECT_EQ(total, done);
  const ModelSpec& spec = (*model)->spec;
  EXPECT_EQ(spec.n_layer, 5);
  EXPECT_EQ(spec.n_kv_head, 4);
  EXPECT_EQ(spec.head_dim, 8);
  EXPECT_EQ((*model)->file_kind, "gguf v3");
  EXPECT_EQ((*model)->tokenizer->n_vocab(), 512);
}

TEST(LoadGgufModel, NamesAFileThatIsNotThere) {
  auto model = LoadGgufModel("/nonexistent/m.gguf", {});
  EXPECT_EQ(model.status().code(), StatusCode::kNotFound);
  EXPECT_THAT(model.status().message(), HasSubstr("/nonexistent/m.gguf"));
}

TEST(LoadGgufModel, AVocabularyWithoutWeightsIsRefused) {
  const std::string path =
      std::string(KVASIR_SHARED_DATA) + "/tokenizers/ggml-vocab-llama-spm.gguf";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no " << path;
  EXPECT_THAT(LoadGgufModel(path, {}).status().ToString(),
              HasSubstr("tensor 'token_embd.weight' is missing"));
}

}  // namespace
}  // namespace kvasir
