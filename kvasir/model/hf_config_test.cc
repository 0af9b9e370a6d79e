#include "kvasir/model/hf_config.h"

#include <gmock/gmock.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

#include "kvasir/model/json_file.h"

namespace kvasir {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Json = nlohmann::ordered_json;

Json Base(const std::string& architecture) {
  return {{"architectures", {architecture}},
          {"hidden_size", 64},
          {"intermediate_size", 96},
          {"num_hidden_layers", 4},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 2},
          {"vocab_size", 100},
          {"max_position_embeddings", 256}};
}

Json With(Json config, const Json& changes) {
  config.update(changes);
  return config;
}

Result<HfConfig> Parse(const Json& config) { return ParseHfConfig(JsonFields(config, "c: ")); }

HfConfig Parsed(const Json& config) {
  auto result = Parse(config);
  EXPECT_TRUE(result.ok()) << result.status().ToString();
  return result.ok() ? std::move(*result) : HfConfig();
}

void ExpectRefused(const Json& config, StatusCode code, const std::string& message) {
  const auto result = Parse(config);
  ASSERT_FALSE(result.ok()) << "expected: " << message;
  EXPECT_EQ(result.status().code(), code) << result.status().ToString();
  EXPECT_THAT(result.status().message(), HasSubstr(message));
}

TEST(HfConfig, LlamaTakesItsDefaults) {
  Json config = Base("LlamaForCausalLM");
  config.erase("num_key_value_heads");
  const HfConfig parsed = Parsed(config);
  EXPECT_EQ(parsed.spec.architecture, "llama");
  EXPECT_EQ(parsed.spec.n_kv_head, 4);
  EXPECT_EQ(parsed.spec.head_dim, 16);
  EXPECT_EQ(parsed.spec.rope.n_rot, 16);
  EXPECT_EQ(parsed.spec.rope.pairing, RopePairing::kHalves);
  EXPECT_EQ(parsed.spec.rope.freq_base, 10000.0);
  EXPECT_EQ(parsed.spec.norm_eps, 1e-6f);
  EXPECT_EQ(parsed.spec.attn_scale, 0.25f);
  EXPECT_EQ(parsed.spec.embedding_scale, 1.0f);
  EXPECT_EQ(parsed.spec.activation, Activation::kSilu);
  EXPECT_THAT(parsed.spec.window, ElementsAre(0, 0, 0, 0));
  EXPECT_THAT(parsed.spec.uses_local_rope, ElementsAre(false, false, false, false));
  EXPECT_FALSE(parsed.tied || parsed.qkv_bias || parsed.o_bias || parsed.mlp_bias);
}

TEST(HfConfig, HeadDimMayDifferFromWidthOverHeads) {
  const HfConfig parsed = Parsed(With(Base("LlamaForCausalLM"), {{"head_dim", 24}}));
  EXPECT_EQ(parsed.spec.head_dim, 24);
  EXPECT_EQ(parsed.spec.rope.n_rot, 24);
  EXPECT_FLOAT_EQ(parsed.spec.attn_scale, 1.0f / std::sqrt(24.0f));
  EXPECT_EQ(Parsed(Base("Qwen3ForCausalLM")).spec.head_dim, 128);
  EXPECT_EQ(Parsed(With(Base("LlamaForCausalLM"), {{"head_dim", nullptr}})).spec.head_dim, 16);
}

TEST(HfConfig, BiasesFollowTheArchitecture) {
  const Json both = {{"attention_bias", true}, {"mlp_bias", true}};
  const HfConfig llama = Parsed(With(Base("LlamaForCausalLM"), both));
  EXPECT_TRUE(llama.qkv_bias && llama.o_bias && llama.mlp_bias);
  const HfConfig mistral = Parsed(With(Base("MistralForCausalLM"), both));
  EXPECT_FALSE(mistral.qkv_bias || mistral.o_bias || mistral.mlp_bias);
  const HfConfig qwen2 = Parsed(Base("Qwen2ForCausalLM"));
  EXPECT_TRUE(qwen2.qkv_bias && !qwen2.o_bias && !qwen2.mlp_bias);
  const HfConfig qwen3 = Parsed(With(Base("Qwen3ForCausalLM"), both));
  EXPECT_TRUE(qwen3.qkv_bias && qwen3.o_bias && !qwen3.mlp_bias && qwen3.qk_norm);
}

TEST(HfConfig, WindowsFollowTheArchitecture) {
  const Json window = {{"sliding_window", 8}};
  EXPECT_THAT(Parsed(With(Base("MistralForCausalLM"), window)).spec.window,
              ElementsAre(8, 8, 8, 8));
  EXPECT_THAT(Parsed(With(Base("MistralForCausalLM"), {{"sliding_window", nullptr}})).spec.window,
              ElementsAre(0, 0, 0, 0));
  EXPECT_THAT(Parsed(With(Base("LlamaForCausalLM"), window)).spec.window, ElementsAre(0, 0, 0, 0));
  EXPECT_THAT(Parsed(With(Base("Phi3ForCausalLM"), window)).spec.window, ElementsAre(8, 8, 8, 8));
  EXPECT_THAT(Parsed(With(Base("Phi3ForCausalLM"), {{"sliding_window", 256}})).spec.window,
              ElementsAre(0, 0, 0, 0));
  EXPECT_THAT(Parsed(With(Base("Gemma2ForCausalLM"), window)).spec.window, ElementsAre(8, 0, 8, 0));
  EXPECT_THAT(Parsed(With(Base("Gemma3ForCausalLM"), window)).spec.window, ElementsAre(8, 8, 8, 8));
  EXPECT_THAT(Parsed(With(With(Base("Gemma3ForCausalLM"), window), {{"sliding_window_pattern", 3}}))
                  .spec.window,
              ElementsAre(8, 8, 0, 8));
}

TEST(HfConfig, QwenWindowsTheUpperLayersWhenToldTo) {
  Json config = With(Base("Qwen2ForCausalLM"), {{"sliding_window", 8}, {"max_window_layers", 3}});
  EXPECT_THAT(Parsed(config).spec.window, ElementsAre(0, 0, 0, 0));
  config["use_sliding_window"] = true;
  EXPECT_THAT(Parsed(config).spec.window, ElementsAre(0, 0, 0, 8));
  config["layer_types"] = {"sliding_attention", "full_attention", "full_attention",
                           "sliding_attention"};
  EXPECT_THAT(Parsed(config).spec.window, ElementsAre(8, 0, 0, 8));
}

TEST(HfConfig, GemmaScalesAndCaps) {
  const Json caps = {{"query_pre_attn_scalar", 144},
                     {"attn_logit_softcapping", 20.0},
                     {"final_logit_softcapping", 10.0}};
  const HfConfig gemma2 = Parsed(With(Base("Gemma2ForCausalLM"), caps));
  EXPECT_EQ(gemma2.spec.embedding_scale, 8.0f);
  EXPECT_FLOAT_EQ(gemma2.spec.attn_scale, 1.0f / 12.0f);
  EXPECT_EQ(gemma2.spec.attn_softcap, 20.0f);
  EXPECT_EQ(gemma2.spec.final_softcap, 10.0f);
  EXPECT_EQ(gemma2.spec.activation, Activation::kGeluTanh);
  EXPECT_EQ(gemma2.norm_offset, 1.0f);
  EXPECT_TRUE(gemma2.tied && gemma2.sandwich && !gemma2.qk_norm);
  const HfConfig plain = Parsed(Base("Gemma2ForCausalLM"));
  EXPECT_EQ(plain.spec.attn_softcap, 50.0f);
  EXPECT_EQ(plain.spec.final_softcap, 30.0f);
  EXPECT_EQ(plain.spec.head_dim, 256);
  const HfConfig none =
      Parsed(With(Base("Gemma2ForCausalLM"),
                  {{"attn_logit_softcapping", nullptr}, {"final_logit_softcapping", nullptr}}));
  EXPECT_EQ(none.spec.attn_softcap, 0.0f);
  EXPECT_EQ(none.spec.final_softcap, 0.0f);
  const HfConfig gemma3 = Parsed(With(Base("Gemma3ForCausalLM"), caps));
  EXPECT_EQ(gemma3.spec.attn_softcap, 0.0f);
  EXPECT_EQ(gemma3.spec.final_softcap, 10.0f);
  EXPECT_TRUE(gemma3.qk_norm);
}

TEST(HfConfig, Gemma3HasTwoRopesInTheOldForm) {
  const ModelSpec spec = Parsed(With(Base("Gemma3ForCausalLM"),
                                     {{"rope_scaling", {{"rope_type", "linear"}, {"factor", 8.0}}},
                                      {"sliding_window", 8},
                                      {"sliding_window_pattern", 2}}))
                             .spec;
  EXPECT_EQ(spec.rope.freq_base, 1000000.0);
  EXPECT_EQ(spec.rope.scaling, RopeScaling::kLinear);
  EXPECT_EQ(spec.rope.factor, 8.0);
  EXPECT_EQ(spec.rope_local.freq_base, 10000.0);
  EXPECT_EQ(spec.rope_local.scaling, RopeScaling::kNone);
  EXPECT_EQ(spec.rope_local.n_rot, 256);
  EXPECT_THAT(spec.uses_local_rope, ElementsAre(true, false, true, false));
}

TEST(HfConfig, RopePerLayerType) {
  const Json rope = {
      {"rope_parameters",
       {{"full_attention", {{"rope_type", "linear"}, {"factor", 4.0}, {"rope_theta", 5e5}}},
        {"sliding_attention", {{"rope_type", "default"}, {"rope_theta", 3000}}}}},
      {"layer_types",
       {"full_attention", "sliding_attention", "sliding_attention", "full_attention"}},
      {"sliding_window", 8},
      {"use_sliding_window", true}};
  for (const std::string name : {"Gemma3ForCausalLM", "Qwen3ForCausalLM"}) {
    const ModelSpec spec = Parsed(With(Base(name), rope)).spec;
    EXPECT_EQ(spec.rope.freq_base, 5e5) << name;
    EXPECT_EQ(spec.rope.factor, 4.0) << name;
    EXPECT_EQ(spec.rope_local.freq_base, 3000.0) << name;
    EXPECT_EQ(spec.rope_local.scaling, RopeScaling::kNone) << name;
    EXPECT_THAT(spec.uses_local_rope, ElementsAre(false, true, true, false)) << name;
    EXPECT_THAT(spec.window, ElementsAre(0, 8, 8, 0)) << name;
  }
}

// The text model of a published multimodal config leaves most keys to the class.
TEST(HfConfig, FollowsANestedTextConfig) {
  const Json config = {{"architectures", {"Gemma3ForConditionalGeneration"}},
                       {"vision_config", {{"hidden_size", 1152}}},
                       {"text_config",
                        {{"hidden_size", 2560},
                         {"intermediate_size", 10240},
                         {"num_hidden_layers", 34},
                         {"sliding_window", 1024}}}};
  const ModelSpec spec = Parsed(config).spec;
  EXPECT_EQ(spec.architecture, "gemma3");
  EXPECT_EQ(spec.n_embd, 2560);
  EXPECT_EQ(spec.n_head, 8);
  EXPECT_EQ(spec.n_kv_head, 4);
  EXPECT_EQ(spec.n_vocab, 262208);
  EXPECT_EQ(spec.n_ctx_train, 131072);
  EXPECT_EQ(spec.window[4], 1024);
  EXPECT_EQ(spec.window[5], 0);
}

TEST(HfConfig, YarnMagnitudeIsDerivedOrGiven) {
  const auto yarn = [](Json extra) {
    Json rope = {{"rope_type", "yarn"}, {"original_max_position_embeddings", 64}};
    rope.update(extra);
    return Parsed(With(Base("Qwen2ForCausalLM"), {{"rope_scaling", rope}})).spec.rope;
  };
  const RopeSpec plain = yarn({{"factor", 4.0}});
  EXPECT_EQ(plain.scaling, RopeScaling::kYarn);
  EXPECT_EQ(plain.original_context, 64);
  EXPECT_DOUBLE_EQ(plain.attn_factor, 1 + 0.1 * std::log(4.0));
  EXPECT_EQ(plain.beta_fast, 32.0);
  EXPECT_EQ(plain.beta_slow, 1.0);
  EXPECT_DOUBLE_EQ(yarn({{"factor", nullptr}}).factor, 256.0 / 64);
  EXPECT_EQ(yarn({{"factor", 4.0}, {"attention_factor", 1.5}}).attn_factor, 1.5);
  EXPECT_DOUBLE_EQ(yarn({{"factor", 4.0}, {"mscale", 0.7}, {"mscale_all_dim", 1.4}}).attn_factor,
                   (1 + 0.07 * std::log(4.0)) / (1 + 0.14 * std::log(4.0)));
  EXPECT_EQ(yarn({{"factor", 4.0}, {"beta_fast", 20}}).beta_fast, 20.0);
}

TEST(HfConfig, LongRopeRotatesPartOfAHead) {
  Json config = With(
      Base("Phi3ForCausalLM"),
      {{"partial_rotary_factor", 0.25},
       {"original_max_position_embeddings", 64},
       {"rope_scaling", {{"type", "su"}, {"short_factor", {1, 1.5}}, {"long_factor", {2, 4}}}}});
  const RopeSpec rope = Parsed(config).spec.rope;
  EXPECT_EQ(rope.scaling, RopeScaling::kLongRope);
  EXPECT_EQ(rope.n_rot, 4);
  EXPECT_EQ(rope.original_context, 64);
  EXPECT_THAT(rope.long_factors, ElementsAre(2.0f, 4.0f));
  EXPECT_THAT(rope.short_factors, ElementsAre(1.0f, 1.5f));
  EXPECT_DOUBLE_EQ(rope.attn_factor, std::sqrt(1 + std::log(4.0) / std::log(64.0)));
  config["rope_scaling"]["long_factor"] = {2};
  ExpectRefused(config, StatusCode::kCorruption,
                "c: rope_scaling.long_factor: expected 2 numbers, found [2]");
}

TEST(HfConfig, RefusesByName) {
  const Json llama = Base("LlamaForCausalLM");
  const struct {
    Json changes;
    StatusCode code;
    std::string message;
  } kCases[] = {
      {{{"architectures", {"MambaForCausalLM"}}},
       StatusCode::kUnsupported,
       "found [\"MambaForCausalLM\"]"},
      {{{"architectures", {"LlamaForCausalLM", "MambaForCausalLM"}}},
       StatusCode::kUnsupported,
       "c: architectures: expected one of LlamaForCausalLM"},
      {{{"architectures", nullptr}}, StatusCode::kNotFound, "c: architectures: missing"},
      {{{"quantization_config", {{"quant_method", "gptq"}}}},
       StatusCode::kUnsupported,
       "c: quantization_config: quant_method \"gptq\""},
      {{{"hidden_act", "relu2"}}, StatusCode::kUnsupported, "c: hidden_act: \"relu2\""},
      {{{"hidden_act", "gelu"}}, StatusCode::kUnsupported, "c: hidden_act: \"gelu\""},
      {{{"rope_scaling", {{"type", "dynamic"}, {"factor", 2.0}}}},
       StatusCode::kUnsupported,
       "c: rope_scaling.rope_type: \"dynamic\""},
      {{{"rope_parameters", {{"rope_type", "proportional"}}}},
       StatusCode::kUnsupported,
       "c: rope_parameters.rope_type: \"proportional\""},
      {{{"rope_scaling", {{"type", "linear"}}}},
       StatusCode::kNotFound,
       "c: rope_scaling.factor: missing"},
      {{{"rope_scaling", {{"type", "yarn"}, {"factor", 2}, {"truncate", false}}}},
       StatusCode::kUnsupported,
       "c: rope_scaling.truncate"},
      {{{"rope_scaling", 3}}, StatusCode::kCorruption, "c: rope_scaling: expected an object"},
      {{{"partial_rotary_factor", 0.5}}, StatusCode::kUnsupported, "c: partial_rotary_factor"},
      {{{"use_bidirectional_attention", true}},
       StatusCode::kUnsupported,
       "c: use_bidirectional_attention"},
      {{{"layer_types", {"full_attention"}}},
       StatusCode::kCorruption,
       "c: layer_types: expected 4 entries, found 1"},
      {{{"layer_types", {"chunked_attention", "x", "x", "x"}}},
       StatusCode::kUnsupported,
       "c: layer_types: \"chunked_attention\""},
      {{{"num_hidden_layers", 0}},
       StatusCode::kCorruption,
       "c: num_hidden_layers: expected an integer from 1 to 4096, found 0"},
      {{{"num_hidden_layers", 1000000000}}, StatusCode::kCorruption, "from 1 to 4096"},
      {{{"hidden_size", -64}}, StatusCode::kCorruption, "c: hidden_size"},
      {{{"hidden_size", 18446744073709551615u}}, StatusCode::kCorruption, "c: hidden_size"},
      {{{"hidden_size", "64"}}, StatusCode::kCorruption, "found \"64\""},
      {{{"hidden_size", nullptr}}, StatusCode::kNotFound, "c: hidden_size: missing"},
      {{{"num_key_value_heads", 3}},
       StatusCode::kCorruption,
       "c: num_key_value_heads: expected a divisor of 4 heads, found 3"},
      {{{"head_dim", 15}}, StatusCode::kCorruption, "c: head_dim: expected an even number"},
      {{{"num_attention_heads", 128}, {"num_key_value_heads", 2}},
       StatusCode::kCorruption,
       "c: head_dim"},
      {{{"rms_norm_eps", 0}}, StatusCode::kCorruption, "c: rms_norm_eps"},
      {{{"tie_word_embeddings", "no"}}, StatusCode::kCorruption, "c: tie_word_embeddings"},
  };
  for (const auto& c : kCases) ExpectRefused(With(llama, c.changes), c.code, c.message);
}

TEST(JsonFile, CapsNestingAndNamesTheByte) {
  const std::string deep = R"({"a":)" + std::string(70, '[') + std::string(70, ']') + "}";
  EXPECT_THAT(ParseJsonObject(deep, "f").status().message(),
              HasSubstr("at most 64 levels, found 71"));
  EXPECT_TRUE(ParseJsonObject(R"({"a":"[[[{{{\"[["})", "f").ok());
  EXPECT_THAT(ParseJsonObject(R"({"a":1,})", "f").status().message(), HasSubstr("byte 8"));
  EXPECT_THAT(ParseJsonObject("[1]", "f").status().message(), HasSubstr("found array"));
  EXPECT_FALSE(ParseJsonObject("", "f").ok());
}

}  // namespace
}  // namespace kvasir
