#include <fmt/format.h>

#include "kvasir/model/synth.h"

namespace kvasir {
namespace {

// Sizes from the models' published config.json files.
struct Row {
  const char* name;
  const char* architecture;
  int n_layer, n_embd, n_head, n_kv_head, head_dim, n_ff, n_vocab, n_ctx;
  double freq_base;
  float eps;
  bool tied;
  int window;            // of local layers; 0 = none
  double llama3_factor;  // 0 = no scaling
};

constexpr Row kRows[] = {
    // clang-format off
    // name            arch      layer embd  head kv  dim   ff     vocab  context     base   eps   tied  window llama3
    {"llama-3.2-1b",  "llama",   16, 2048, 32,  8,  64,  8192, 128256, 131072,  500000, 1e-5f, true,     0, 32},
    {"llama-3.2-3b",  "llama",   28, 3072, 24,  8, 128,  8192, 128256, 131072,  500000, 1e-5f, true,     0, 32},
    {"llama-3.1-8b",  "llama",   32, 4096, 32,  8, 128, 14336, 128256, 131072,  500000, 1e-5f, false,    0, 8},
    {"mistral-7b",    "llama",   32, 4096, 32,  8, 128, 14336,  32768,  32768, 1000000, 1e-5f, false,    0, 0},
    {"smollm2-135m",  "llama",   30,  576,  9,  3,  64,  1536,  49152,   8192,  100000, 1e-5f, true,     0, 0},
    {"smollm2-360m",  "llama",   32,  960, 15,  5,  64,  2560,  49152,   8192,  100000, 1e-5f, true,     0, 0},
    {"smollm2-1.7b",  "llama",   24, 2048, 32, 32,  64,  8192,  49152,   8192,  130000, 1e-5f, true,     0, 0},
    {"qwen2.5-0.5b",  "qwen2",   24,  896, 14,  2,  64,  4864, 151936,  32768, 1000000, 1e-6f, true,     0, 0},
    {"qwen3-0.6b",    "qwen3",   28, 1024, 16,  8, 128,  3072, 151936,  40960, 1000000, 1e-6f, true,     0, 0},
    {"qwen3-1.7b",    "qwen3",   28, 2048, 16,  8, 128,  6144, 151936,  40960, 1000000, 1e-6f, true,     0, 0},
    {"gemma2-2b",     "gemma2",  26, 2304,  8,  4, 256,  9216, 256000,   8192,   10000, 1e-6f, true,  4096, 0},
    {"gemma3-270m",   "gemma3",  18,  640,  4,  1, 256,  2048, 262144,  32768, 1000000, 1e-6f, true,   512, 0},
    {"gemma3-1b",     "gemma3",  26, 1152,  4,  1, 256,  6912, 262144,  32768, 1000000, 1e-6f, true,   512, 0},
    {"phi3-mini",     "phi3",    32, 3072, 32, 32,  96,  8192,  32064,   4096,   10000, 1e-5f, false, 2047, 0},
    {"tiny-llama",    "llama",    2,   64,  4,  2,  16,   128,    512,    512,   10000, 1e-5f, true,     0, 0},
    {"tiny-llama3",   "llama",    3,  256,  4,  2,  64,   512,    512,   4096,  500000, 1e-5f, false,    0, 8},
    {"tiny-mistral",  "llama",    3,   64,  4,  2,  16,   128,    512,    512,   10000, 1e-5f, false,   32, 0},
    {"tiny-qwen2",    "qwen2",    2,   64,  4,  2,  16,   128,    512,    512, 1000000, 1e-6f, true,     0, 0},
    {"tiny-qwen3",    "qwen3",    2,   64,  4,  2,  32,   128,    512,    512, 1000000, 1e-6f, true,     0, 0},
    {"tiny-gemma2",   "gemma2",   4,   64,  4,  2,  32,   128,    512,    512,   10000, 1e-6f, true,    32, 0},
    {"tiny-gemma3",   "gemma3",   7,   64,  4,  1,  32,   128,    512,    512, 1000000, 1e-6f, true,    32, 0},
    {"tiny-phi3",     "phi3",     2,   96,  4,  4,  24,   128,    512,    512,   10000, 1e-5f, false,   32, 0},
    // clang-format on
};

// Which layers look through the window; the published patterns of each architecture.
bool IsLocal(std::string_view architecture, int layer) {
  if (architecture == "gemma2") return layer % 2 == 0;
  if (architecture == "gemma3") return layer % 6 != 5;
  return true;
}

RopeSpec RopeOf(const Row& row) {
  RopeSpec rope;
  const bool adjacent = std::string_view(row.architecture) == "llama";
  rope.pairing = adjacent ? RopePairing::kAdjacent : RopePairing::kHalves;
  rope.n_rot = row.head_dim;
  rope.freq_base = row.freq_base;
  if (row.llama3_factor != 0) {
    rope.scaling = RopeScaling::kLlama3;
    rope.factor = row.llama3_factor;
    rope.original_context = 8192;
  }
  return rope;
}

SynthShape ShapeOf(const Row& row) {
  SynthShape shape;
  shape.tied = row.tied;
  ModelSpec& spec = shape.spec;
  spec.architecture = row.architecture;
  spec.name = row.name;
  spec.n_layer = row.n_layer;
  spec.n_embd = row.n_embd;
  spec.n_head = row.n_head;
  spec.n_kv_head = row.n_kv_head;
  spec.head_dim = row.head_dim;
  spec.n_ff = row.n_ff;
  spec.n_vocab = row.n_vocab;
  spec.n_ctx_train = row.n_ctx;
  spec.norm_eps = row.eps;
  spec.rope = RopeOf(row);
  const bool gemma3 = spec.architecture == "gemma3";
  for (int layer = 0; layer < row.n_layer; ++layer) {
    const bool local = row.window != 0 && IsLocal(row.architecture, layer);
    spec.window.push_back(local ? row.window : 0);
    spec.uses_local_rope.push_back(local && gemma3);
  }
  if (spec.architecture == "gemma2") {
    spec.attn_softcap = 50.0f;
    spec.final_softcap = 30.0f;
  }
  return shape;
}

}  // namespace

std::vector<std::string> SynthShapeNames() {
  std::vector<std::string> names;
  for (const Row& row : kRows) names.emplace_back(row.name);
  return names;
}

Result<SynthShape> FindSynthShape(std::string_view name) {
  std::string known;
  for (const Row& row : kRows) {
    if (name == row.name) return ShapeOf(row);
    known += fmt::format("{}{}", known.empty() ? "" : ", ", row.name);
  }
  return Status::NotFound(fmt::format("no shape '{}'; there are {}", name, known));
}

}  // namespace kvasir
