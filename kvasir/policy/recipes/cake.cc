// CAKE: layers compete for the budget while the prompt is read.
#include "kvasir/policy/recipe.h"

namespace kvasir {

const PresetInfo& cake_recipe() {
  static constexpr ParamInfo params[] = {
      {"budget", ParamType::kAmount, "1024", 1, 1e9, "tokens a head keeps on average, or a share"},
      {"window", ParamType::kInt, "32", 1, 1024, "last queries of the prompt that judge"},
      {"gamma", ParamType::kReal, "200", 0, 1e6, "weight of the variance over the queries"},
      {"tau1", ParamType::kReal, "1.6", 0.01, 100, "temperature of the entropy"},
      {"tau2", ParamType::kReal, "0.4", 0.01, 100, "temperature of the variance"},
      {"pool", ParamType::kInt, "5", 1, 255, "neighbours a token is judged with"},
  };
  static constexpr PresetInfo info = {
      .name = "cake",
      .summary = "more for layers that attend widely and unsteadily, layer by layer",
      .card = "CAKE, arXiv:2503.12491",
      .params = params,
      .text =
          "score=cake({window},{gamma}) reduce=mean shape=avgpool({pool}) "
          "budget=cake({budget},{tau1},{tau2},{window}) schedule=cascade"};
  return info;
}

}  // namespace kvasir
