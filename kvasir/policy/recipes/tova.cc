// TOVA: the weights of the newest query, averaged over all heads of the layer.
#include "kvasir/policy/recipe.h"

namespace kvasir {

const PresetInfo& tova_recipe() {
  static constexpr ParamInfo params[] = {
      {"budget", ParamType::kAmount, "1024", 1, 1e9, "tokens a head keeps, or a share"},
      {"every", ParamType::kInt, "16", 1, 65536, "generated tokens between cuts"},
  };
  static constexpr PresetInfo info = {
      .name = "tova",
      .summary = "what the last query attends to, one set for all heads",
      .card = "TOVA, arXiv:2401.06104",
      .params = params,
      .text = "score=window(1) reduce=all budget=uniform({budget}) schedule=steps({every})"};
  return info;
}

}  // namespace kvasir
