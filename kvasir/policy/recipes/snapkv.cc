// SnapKV, selected per kv head.
#include "kvasir/policy/recipe.h"

namespace kvasir {

const PresetInfo& snapkv_recipe() {
  static constexpr ParamInfo params[] = {
      {"budget", ParamType::kAmount, "1024", 1, 1e9, "tokens a head keeps, or a share"},
      {"window", ParamType::kInt, "32", 1, 1024, "last queries of the prompt that judge"},
      {"pool", ParamType::kInt, "7", 1, 255, "neighbours a token is judged with"},
  };
  static constexpr PresetInfo info = {
      .name = "snapkv",
      .summary = "what the end of the prompt attends to",
      .card = "SnapKV, arXiv:2404.14469",
      .params = params,
      .text = "score=window({window}) shape=maxpool({pool}) budget=uniform({budget})"};
  return info;
}

}  // namespace kvasir
