// D2O: heavy hitters; similar tokens are merged into what stays.
#include "kvasir/policy/recipe.h"

namespace kvasir {

const PresetInfo& d2o_recipe() {
  static constexpr ParamInfo params[] = {
      {"budget", ParamType::kAmount, "20%", 1, 1e9, "tokens a head keeps on average, or a share"},
      {"sinks", ParamType::kInt, "4", 0, 1e6, "first tokens that always stay"},
      {"recent", ParamType::kInt, "64", 0, 1e6, "newest tokens that always stay"},
      {"every", ParamType::kInt, "16", 1, 65536, "generated tokens between cuts"},
      {"keys", ParamType::kFlag, "0", 0, 1, "merge rotated keys too"},
      {"count", ParamType::kInt, "0", 0, 1,
       "add the logarithm of the count to the logit, which the paper does not"},
  };
  static constexpr PresetInfo info = {
      .name = "d2o",
      .summary = "heavy hitters, more for even layers; similar tokens are merged",
      .card = "D2O, arXiv:2406.13035",
      .params = params,
      .text =
          "score=columns reduce=mean budget=d2o({budget}) protect=sinks({sinks}),recent({recent}) "
          "disposition=d2o(keys={keys},count={count}) schedule=steps({every})"};
  return info;
}

}  // namespace kvasir
