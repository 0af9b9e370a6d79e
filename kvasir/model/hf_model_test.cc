#include <fmt/format.h>
#include <gmock/gmock.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "kvasir/core/file_testing.h"
#include "kvasir/kernels/matmul.h"
#include "kvasir/model/model.h"

namespace kvasir {
namespace {

using testing::HasSubstr;

const std::string kFixtures = KVASIR_SOURCE_DIR "/tests/fixtures/models/";

std::shared_ptr<const Model> Load(const std::string& path) {
  auto model = LoadModel(path, {});
  EXPECT_TRUE(model.ok()) << model.status().ToString();
  return model.ok() ? *model : nullptr;
}

std::vector<float> Values(const Tensor& tensor) {
  std::vector<float> values(static_cast<size_t>(tensor.rows * tensor.cols));
  for (int64_t row = 0; row < tensor.rows; ++row) {
    DequantizeRow(tensor.type, tensor.data + static_cast<size_t>(row) * tensor.row_bytes,
                  values.data() + row * tensor.cols, tensor.cols);
  }
  return values;
}

// Row r of a head in a GGUF file of `llama`, which pairs neighbours, is row (r % 2) * d/2 + r / 2
// of the HF file, which pairs halves.
template <typename T>
std::vector<T> InGgufOrder(const std::vector<T>& values, int32_t n_head, int32_t head_dim) {
  std::vector<T> moved(values.size());
  if (values.empty()) return moved;
  const size_t row = values.size() / static_cast<size_t>(n_head * head_dim);
  for (int32_t head = 0; head < n_head; ++head) {
    for (int32_t r = 0; r < head_dim; ++r) {
      const int32_t from = head * head_dim + r % 2 * (head_dim / 2) + r / 2;
      std::copy_n(values.begin() + static_cast<int64_t>(row) * from, row,
                  moved.begin() + static_cast<int64_t>(row) * (head * head_dim + r));
    }
  }
  return moved;
}

void ExpectSameLayer(const LayerWeights& hf, const LayerWeights& gguf, const ModelSpec& spec,
                     bool permuted) {
  const auto rows = [&](const std::vector<float>& values, int32_t n_head) {
    return permuted ? InGgufOrder(values, n_head, spec.head_dim) : values;
  };
  EXPECT_EQ(rows(Values(hf.wq), spec.n_head), Values(gguf.wq));
  EXPECT_EQ(rows(Values(hf.wk), spec.n_kv_head), Values(gguf.wk));
  EXPECT_EQ(Values(hf.wv), Values(gguf.wv));
  EXPECT_EQ(Values(hf.wo), Values(gguf.wo));
  EXPECT_EQ(rows(hf.bq, spec.n_head), gguf.bq);
  EXPECT_EQ(rows(hf.bk, spec.n_kv_head), gguf.bk);
  EXPECT_EQ(hf.bv, gguf.bv);
  EXPECT_EQ(hf.bo, gguf.bo);
  EXPECT_EQ(hf.q_norm, gguf.q_norm);
  EXPECT_EQ(hf.k_norm, gguf.k_norm);
  EXPECT_EQ(hf.attn_norm, gguf.attn_norm);
  EXPECT_EQ(hf.attn_post_norm, gguf.attn_post_norm);
  EXPECT_EQ(hf.ffn_norm, gguf.ffn_norm);
  EXPECT_EQ(hf.ffn_post_norm, gguf.ffn_post_norm);
  EXPECT_EQ(Values(hf.w_gate), Values(gguf.w_gate));
  EXPECT_EQ(Values(hf.w_up), Values(gguf.w_up));
  EXPECT_EQ(Values(hf.w_down), Values(gguf.w_down));
  EXPECT_EQ(hf.b_gate, gguf.b_gate);
  EXPECT_EQ(hf.b_up, gguf.b_up);
  EXPECT_EQ(hf.b_down, gguf.b_down);
}

void ExpectSameSpec(const ModelSpec& hf, const ModelSpec& gguf) {
  EXPECT_EQ(hf.architecture, gguf.architecture);
  EXPECT_EQ(hf.n_layer, gguf.n_layer);
  EXPECT_EQ(hf.n_embd, gguf.n_embd);
  EXPECT_EQ(hf.n_head, gguf.n_head);
  EXPECT_EQ(hf.n_kv_head, gguf.n_kv_head);
  EXPECT_EQ(hf.head_dim, gguf.head_dim);
  EXPECT_EQ(hf.n_ff, gguf.n_ff);
  EXPECT_EQ(hf.n_vocab, gguf.n_vocab);
  EXPECT_EQ(hf.n_ctx_train, gguf.n_ctx_train);
  EXPECT_EQ(hf.norm_eps, gguf.norm_eps);
  EXPECT_EQ(hf.activation, gguf.activation);
  EXPECT_FLOAT_EQ(hf.embedding_scale, gguf.embedding_scale);
  EXPECT_FLOAT_EQ(hf.attn_scale, gguf.attn_scale);
  EXPECT_EQ(hf.attn_softcap, gguf.attn_softcap);
  EXPECT_EQ(hf.final_softcap, gguf.final_softcap);
  EXPECT_EQ(hf.window, gguf.window);
  EXPECT_EQ(hf.uses_local_rope, gguf.uses_local_rope);
  EXPECT_EQ(hf.rope.n_rot, gguf.rope.n_rot);
  EXPECT_EQ(hf.rope.freq_base, gguf.rope.freq_base);
  EXPECT_EQ(hf.rope.long_factors, gguf.rope.long_factors);
  EXPECT_EQ(hf.rope.short_factors, gguf.rope.short_factors);
}

std::vector<std::string> FixturesWithGguf() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(kFixtures)) {
    if (std::filesystem::exists(entry.path() / "model.gguf")) {
      names.push_back(entry.path().filename().string());
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

class HfAndGguf : public testing::TestWithParam<std::string> {};

TEST_P(HfAndGguf, GiveTheSameSpecAndWeights) {
  const auto hf = Load(kFixtures + GetParam());
  const auto gguf = Load(kFixtures + GetParam() + "/model.gguf");
  ASSERT_TRUE(hf && gguf);
  ExpectSameSpec(hf->spec, gguf->spec);
  EXPECT_EQ(hf->spec.name, GetParam());
  EXPECT_EQ(hf->file_kind, "hf");
  EXPECT_EQ(Values(hf->weights.token_embd), Values(gguf->weights.token_embd));
  EXPECT_EQ(Values(hf->weights.output), Values(gguf->weights.output));
  EXPECT_EQ(hf->weights.output_norm, gguf->weights.output_norm);
  ASSERT_EQ(hf->weights.layers.size(), gguf->weights.layers.size());
  const bool permuted = gguf->spec.rope.pairing == RopePairing::kAdjacent;
  EXPECT_EQ(permuted, hf->spec.architecture == "llama");
  for (size_t i = 0; i < hf->weights.layers.size(); ++i) {
    SCOPED_TRACE(fmt::format("layer {}", i));
    ExpectSameLayer(hf->weights.layers[i], gguf->weights.layers[i], hf->spec, permuted);
  }
}

INSTANTIATE_TEST_SUITE_P(Fixtures, HfAndGguf, testing::ValuesIn(FixturesWithGguf()),
                         [](const auto& info) { return info.param; });

// A copy of a fixture that a test may damage.
class HfFolder : public testing::Test {
 protected:
  void Copy(const std::string& fixture) { folder_ = directory_.CopyOf(kFixtures + fixture); }
  std::string Read(const std::string& name) { return ReadText(folder_ + "/" + name); }
  void Write(const std::string& name, const std::string& bytes) {
    std::ofstream(folder_ + "/" + name, std::ios::binary) << bytes;
  }
  void ChangeJson(const std::string& name, const nlohmann::ordered_json& changes) {
    auto document = nlohmann::ordered_json::parse(Read(name));
    document.update(changes);
    Write(name, document.dump());
  }
  // Replaces the tensors' names in the header of model.safetensors; `change` may return "".
  template <typename Change>
  void RenameTensors(Change change) {
    const std::string bytes = Read("model.safetensors");
    uint64_t length = 0;
    std::memcpy(&length, bytes.data(), 8);
    const auto header = nlohmann::ordered_json::parse(bytes.substr(8, length));
    nlohmann::ordered_json renamed;
    for (const auto& [name, value] : header.items()) renamed[change(name)] = value;
    std::string text = renamed.dump();
    while (text.size() % 8 != 0) text += ' ';
    length = text.size();
    std::string out(8, '\0');
    std::memcpy(out.data(), &length, 8);
    const uint64_t old_length = bytes.size();
    uint64_t data = 0;
    std::memcpy(&data, bytes.data(), 8);
    Write("model.safetensors", out + text + bytes.substr(8 + data, old_length - 8 - data));
  }
  void ExpectRefused(StatusCode code, const std::string& message) {
    const auto model = LoadHfModel(folder_, {});
    ASSERT_FALSE(model.ok()) << "expected: " << message;
    EXPECT_EQ(model.status().code(), code) << model.status().ToString();
    EXPECT_THAT(model.status().message(), HasSubstr(message));
  }

  TemporaryDirectory directory_;
  std::string folder_;
};

TEST_F(HfFolder, LoadsShardsTemplateAndHints) {
  Copy("llama_tied");
  uint64_t done = 0, total = 0;
  const auto model = LoadHfModel(folder_ + "/", {.progress = [&](uint64_t d, uint64_t t) {
                                   done = d;
                                   total = t;
                                 }});
  ASSERT_TRUE(model.ok()) << model.status().ToString();
  EXPECT_EQ((*model)->spec.name, "llama_tied");
  EXPECT_EQ((*model)->weights.output.data, (*model)->weights.token_embd.data);
  EXPECT_EQ((*model)->files.size(), 3u);
  EXPECT_THAT((*model)->chat_template, HasSubstr("bos_token"));
  EXPECT_FLOAT_EQ((*model)->hints.temperature, 0.6f);
  EXPECT_FLOAT_EQ((*model)->hints.top_p, 0.9f);
  EXPECT_EQ((*model)->hints.top_k, 20);
  EXPECT_EQ((*model)->hints.min_p, -1.0f);
  // Embeddings, output norm, and per layer q, k, v, o, gate, up, down and two norms; bf16.
  const uint64_t layer = 32 * 32 * 2 + 16 * 32 * 2 + 3 * 32 * 48 + 2 * 32;
  EXPECT_EQ((*model)->n_parameters, 96u * 32 + 32 + 2 * layer);
  EXPECT_EQ((*model)->weight_bytes, 2 * (*model)->n_parameters);
  EXPECT_EQ(done, total);
  EXPECT_EQ(total, (*model)->weight_bytes);
}

TEST_F(HfFolder, PrefersTheTemplateFileAndTheDefaultOfAList) {
  Copy("llama");
  ChangeJson(
      "tokenizer_config.json",
      {{"chat_template",
        {{{"name", "tool_use"}, {"template", "T"}}, {{"name", "default"}, {"template", "D"}}}}});
  EXPECT_EQ(Load(folder_)->chat_template, "D");
  Write("chat_template.jinja", "J");
  EXPECT_EQ(Load(folder_)->chat_template, "J");
  std::filesystem::remove(folder_ + "/chat_template.jinja");
  std::filesystem::remove(folder_ + "/generation_config.json");
  ChangeJson("tokenizer_config.json", {{"chat_template", nullptr}});
  const auto model = Load(folder_);
  EXPECT_EQ(model->chat_template, "");
  EXPECT_EQ(model->hints.temperature, -1.0f);
}

TEST_F(HfFolder, FusedTensorsAreTakenApartWithoutACopy) {
  Copy("phi3_window");
  const auto model = Load(folder_);
  ASSERT_NE(model, nullptr);
  const LayerWeights& layer = model->weights.layers[1];
  EXPECT_EQ(layer.wk.data, layer.wq.data + 32 * layer.wq.row_bytes);
  EXPECT_EQ(layer.wv.data, layer.wk.data + 16 * layer.wk.row_bytes);
  EXPECT_EQ(layer.w_up.data, layer.w_gate.data + 48 * layer.w_gate.row_bytes);
}

TEST_F(HfFolder, GemmaNormsCarryTheirOne) {
  const auto model = Load(kFixtures + "gemma3");
  ASSERT_NE(model, nullptr);
  double sum = 0;
  for (const float weight : model->weights.output_norm) sum += weight;
  EXPECT_NEAR(sum / model->spec.n_embd, 1.0, 0.25);
}

TEST_F(HfFolder, FindsTheTextModelUnderOtherPrefixes) {
  const std::vector<float> expected =
      Values(Load(kFixtures + "gemma3_layer_types")->weights.layers[1].wv);
  for (const std::string prefix : {"language_model.model.", "model.language_model.", ""}) {
    Copy("gemma3_layer_types");
    RenameTensors([&](const std::string& name) {
      return name.starts_with("model.") ? prefix + name.substr(6) : name;
    });
    const auto model = Load(folder_);
    ASSERT_NE(model, nullptr) << prefix;
    EXPECT_EQ(Values(model->weights.layers[1].wv), expected) << prefix;
    std::filesystem::remove_all(folder_);
  }
}

TEST_F(HfFolder, NamesAMissingTensor) {
  Copy("qwen2");
  const std::string victims[] = {"model.layers.1.self_attn.k_proj.bias",
                                 "model.layers.0.mlp.up_proj.weight", "model.norm.weight",
                                 "lm_head.weight", "model.embed_tokens.weight"};
  const std::string original = Read("model.safetensors");
  for (const std::string& victim : victims) {
    Write("model.safetensors", original);
    RenameTensors([&](const std::string& name) { return name == victim ? "other" : name; });
    ExpectRefused(StatusCode::kNotFound, "tensor " + victim + ": missing");
  }
}

TEST_F(HfFolder, NamesATensorThatNothingUses) {
  Copy("qwen2");
  ChangeJson("config.json", {{"architectures", {"Qwen3ForCausalLM"}}, {"head_dim", 8}});
  ExpectRefused(StatusCode::kNotFound, "tensor model.layers.0.self_attn.q_norm.weight: missing");
  ChangeJson("config.json", {{"architectures", {"LlamaForCausalLM"}}});
  ExpectRefused(StatusCode::kUnsupported,
                "tensor model.layers.0.self_attn.k_proj.bias: not part of llama");
}

TEST_F(HfFolder, NamesAWrongShape) {
  Copy("llama");
  ChangeJson("config.json", {{"num_key_value_heads", 4}});
  ExpectRefused(StatusCode::kCorruption,
                "tensor model.layers.0.self_attn.k_proj.weight: expected shape [32, 32], found "
                "[16, 32]");
  ChangeJson("config.json", {{"num_key_value_heads", 2}, {"vocab_size", 97}});
  ExpectRefused(StatusCode::kCorruption,
                "tensor model.embed_tokens.weight: expected shape [97, 32], found [96, 32]");
  ChangeJson("config.json", {{"vocab_size", 96}, {"num_hidden_layers", 3}});
  ExpectRefused(StatusCode::kNotFound, "tensor model.layers.2.self_attn.q_proj.weight: missing");
  ChangeJson("config.json", {{"num_hidden_layers", 1}});
  ExpectRefused(StatusCode::kUnsupported, "tensor model.layers.1.");
}

TEST_F(HfFolder, NamesMissingFiles) {
  Copy("llama_tied");
  std::filesystem::remove(folder_ + "/model-00002-of-00003.safetensors");
  ExpectRefused(StatusCode::kNotFound, "model-00002-of-00003.safetensors");
  std::filesystem::remove(folder_ + "/model.safetensors.index.json");
  ExpectRefused(StatusCode::kNotFound, "no model.safetensors");
  std::filesystem::remove(folder_ + "/config.json");
  ExpectRefused(StatusCode::kNotFound, "config.json: cannot open");
}

TEST_F(HfFolder, RefusesTruncatedWeights) {
  Copy("llama");
  const std::string bytes = Read("model.safetensors");
  Write("model.safetensors", bytes.substr(0, bytes.size() - 1));
  ExpectRefused(StatusCode::kCorruption, "model.safetensors: tensor ");
}

}  // namespace
}  // namespace kvasir
