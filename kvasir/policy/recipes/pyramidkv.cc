// PyramidKV: SnapKV tokens, budgets that fall from layer to layer.
#include "kvasir/policy/recipe.h"

namespace kvasir {

const PresetInfo& pyramidkv_recipe() {
  static constexpr ParamInfo params[] = {
      {"budget", ParamType::kAmount, "1024", 1, 1e9, "tokens a head keeps, or a share"},
      {"window", ParamType::kInt, "32", 1, 1024, "last queries of the prompt that judge"},
      {"pool", ParamType::kInt, "7", 1, 255, "neighbours a token is judged with"},
      {"beta", ParamType::kReal, "20", 1, 1000, "the last layer gets the mean divided by this"},
  };
  static constexpr PresetInfo info = {
      .name = "pyramidkv",
      .summary = "snapkv with more tokens in low layers",
      .card = "PyramidKV, arXiv:2406.02069",
      .params = params,
      .text = "score=window({window}) shape=maxpool({pool}) budget=pyramid({budget},{beta})"};
  return info;
}

}  // namespace kvasir
