// CriticalKV on SnapKV.
#include "kvasir/policy/recipe.h"

namespace kvasir {

const PresetInfo& criticalkv_recipe() {
  static constexpr ParamInfo params[] = {
      {"budget", ParamType::kAmount, "1024", 1, 1e9, "tokens a head keeps, or a share"},
      {"window", ParamType::kInt, "32", 1, 1024, "last queries of the prompt that judge"},
      {"pool", ParamType::kInt, "7", 1, 255, "neighbours a token is judged with"},
      {"first", ParamType::kReal, "0.5", 0, 1, "share of the budget that goes by score alone"},
  };
  static constexpr PresetInfo info = {
      .name = "criticalkv",
      .summary = "snapkv that also looks at what a value does to the hidden state",
      .card = "CriticalKV, arXiv:2502.03805",
      .params = params,
      .text =
          "score=window({window}) shape=maxpool({pool}) budget=uniform({budget}) "
          "keep=critical({first})"};
  return info;
}

}  // namespace kvasir
