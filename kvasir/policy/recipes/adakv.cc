// Ada-SnapKV.
#include "kvasir/policy/recipe.h"

namespace kvasir {

const PresetInfo& adakv_recipe() {
  static constexpr ParamInfo params[] = {
      {"budget", ParamType::kAmount, "1024", 1, 1e9, "tokens a head keeps, or a share"},
      {"window", ParamType::kInt, "32", 1, 1024, "last queries of the prompt that judge"},
      {"pool", ParamType::kInt, "7", 1, 255, "neighbours a token is judged with"},
      {"floor", ParamType::kReal, "0.2", 0, 1,
       "share of its budget that each head keeps in any case"},
  };
  static constexpr PresetInfo info = {
      .name = "adakv",
      .summary = "snapkv with heads that compete for the budget of their layer",
      .card = "AdaKV, arXiv:2407.11550",
      .params = params,
      .text =
          "score=window({window}) shape=maxpool({pool}) budget=uniform({budget}) "
          "keep=pooled({floor})"};
  return info;
}

}  // namespace kvasir
