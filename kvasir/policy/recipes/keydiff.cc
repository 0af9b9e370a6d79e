// KeyDiff under a hard cap: chunk by chunk.
#include "kvasir/policy/recipe.h"

namespace kvasir {

const PresetInfo& keydiff_recipe() {
  static constexpr ParamInfo params[] = {
      {"budget", ParamType::kAmount, "2048", 1, 1e9, "tokens a head keeps, or a share"},
      {"sinks", ParamType::kInt, "4", 0, 1e6, "first tokens that always stay"},
      {"recent", ParamType::kInt, "32", 0, 1e6, "newest tokens that always stay"},
      {"every", ParamType::kInt, "16", 0, 65536, "generated tokens between cuts; 0 = none"},
  };
  static constexpr PresetInfo info = {
      .name = "keydiff",
      .summary = "unusual keys, cut after every chunk: never more than the budget and one chunk",
      .card = "KeyDiff, arXiv:2504.15364",
      .params = params,
      .text =
          "score=keydiff budget=uniform({budget}) protect=sinks({sinks}),recent({recent}) "
          "schedule=chunks({every})"};
  return info;
}

}  // namespace kvasir
