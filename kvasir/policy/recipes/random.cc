// The baseline that every scorer must beat.
#include "kvasir/policy/recipe.h"

namespace kvasir {

const PresetInfo& random_recipe() {
  static constexpr ParamInfo params[] = {
      {"budget", ParamType::kAmount, "50%", 1, 1e9, "tokens a head keeps, or a share"},
      {"sinks", ParamType::kInt, "4", 0, 1e6, "first tokens that always stay"},
      {"recent", ParamType::kInt, "32", 0, 1e6, "newest tokens that always stay"},
  };
  static constexpr PresetInfo info = {
      .name = "random",
      .summary = "random tokens, sinks and the newest",
      .card = "",
      .params = params,
      .text = "score=random budget=uniform({budget}) protect=sinks({sinks}),recent({recent})"};
  return info;
}

}  // namespace kvasir
