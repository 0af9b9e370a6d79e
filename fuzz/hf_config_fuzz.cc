// Reads arbitrary text as the config.json of a model folder and checks what a loader relies on.
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "kvasir/model/hf_config.h"
#include "kvasir/model/json_file.h"

namespace {

void Check(bool holds) {
  if (!holds) __builtin_trap();
}

void CheckRope(const kvasir::RopeSpec& rope, const kvasir::ModelSpec& spec) {
  const auto n_pair = static_cast<size_t>(rope.n_rot / 2);
  Check(rope.n_rot > 0 && rope.n_rot % 2 == 0 && rope.n_rot <= spec.head_dim);
  Check(rope.freq_base > 0 && rope.factor > 0);
  Check(rope.scaling != kvasir::RopeScaling::kLongRope ||
        (rope.long_factors.size() == n_pair && rope.short_factors.size() == n_pair));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto document = kvasir::ParseJsonObject(text, "fuzz");
  if (!document.ok()) return 0;
  const auto config = kvasir::ParseHfConfig(kvasir::JsonFields(*document, "fuzz: "));
  if (!config.ok()) return 0;
  const kvasir::ModelSpec& spec = config->spec;
  Check(spec.n_layer > 0 && spec.n_head > 0 && spec.n_kv_head > 0 && spec.head_dim > 0);
  Check(spec.n_head % spec.n_kv_head == 0);
  Check(spec.window.size() == static_cast<size_t>(spec.n_layer));
  Check(spec.uses_local_rope.size() == spec.window.size());
  CheckRope(spec.rope, spec);
  CheckRope(spec.rope_local, spec);
  return 0;
}
