// StreamingLLM with original positions: sinks and a window, at every moment.
#include "kvasir/policy/recipe.h"

namespace kvasir {

const PresetInfo& streaming_recipe() {
  static constexpr ParamInfo params[] = {
      {"budget", ParamType::kAmount, "1024", 1, 1e9, "tokens a head keeps, or a share"},
      {"sinks", ParamType::kInt, "4", 0, 1e6, "first tokens that always stay"},
      {"every", ParamType::kInt, "16", 1, 65536, "generated tokens between cuts"},
  };
  static constexpr PresetInfo info = {
      .name = "streaming",
      .summary = "sinks and the newest tokens",
      .card = "StreamingLLM, arXiv:2309.17453",
      .params = params,
      .text =
          "score=recency budget=uniform({budget}) protect=sinks({sinks}) schedule=chunks({every})"};
  return info;
}

}  // namespace kvasir
