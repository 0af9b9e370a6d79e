// KVzip: what a second reading of the prompt looks at, over all layers and heads.
#include "kvasir/policy/recipe.h"

namespace kvasir {

const PresetInfo& kvzip_recipe() {
  static constexpr ParamInfo params[] = {
      {"budget", ParamType::kAmount, "30%", 1, 1e9, "tokens a head keeps on average, or a share"},
      {"system", ParamType::kInt, "4", 0, 1e6, "first tokens that always stay: the system prompt"},
      {"floor", ParamType::kReal, "0.05", 0, 1,
       "share of the average that each head keeps in any case"},
      {"part", ParamType::kInt, "2048", 64, 65536, "tokens of the prompt read again at a time"},
  };
  static constexpr PresetInfo info = {
      .name = "kvzip",
      .summary = "tokens that help to repeat the prompt, whatever is asked later",
      .card = "KVzip, arXiv:2505.23416",
      .params = params,
      .text =
          "score=replay({part}) budget=uniform({budget}) protect=sinks({system}),special "
          "keep=pooled({floor},model)"};
  return info;
}

}  // namespace kvasir
