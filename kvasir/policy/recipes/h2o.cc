// H2O: attention summed over all queries, with a part of the budget for the newest tokens.
#include "kvasir/policy/recipe.h"

namespace kvasir {

const PresetInfo& h2o_recipe() {
  static constexpr ParamInfo params[] = {
      {"budget", ParamType::kAmount, "20%", 1, 1e9, "tokens a head keeps, or a share"},
      {"recent", ParamType::kInt, "64", 0, 1e6, "newest tokens that always stay"},
      {"every", ParamType::kInt, "16", 1, 65536, "generated tokens between cuts"},
  };
  static constexpr PresetInfo info = {.name = "h2o",
                                      .summary = "heavy hitters and the newest tokens",
                                      .card = "H2O, arXiv:2306.14048",
                                      .params = params,
                                      .text =
                                          "score=columns reduce=mean budget=uniform({budget}) "
                                          "protect=recent({recent}) schedule=steps({every})"};
  return info;
}

}  // namespace kvasir
