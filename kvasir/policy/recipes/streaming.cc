// StreamingLLM: sinks and a window, at every moment, numbered by their places in the cache.
#include "kvasir/policy/recipe.h"

namespace kvasir {

const PresetInfo& streaming_recipe() {
  static constexpr ParamInfo params[] = {
      {"budget", ParamType::kAmount, "1024", 1, 1e9, "tokens a head keeps, or a share"},
      {"sinks", ParamType::kInt, "4", 0, 1e6, "first tokens that always stay"},
      {"every", ParamType::kInt, "16", 1, 65536, "generated tokens between cuts"},
      {"position", ParamType::kText, "renumber", 0, 0, "renumber, or original: the text's own"},
  };
  static constexpr PresetInfo info = {
      .name = "streaming",
      .summary = "sinks and the newest tokens",
      .card = "StreamingLLM, arXiv:2309.17453",
      .params = params,
      .text =
          "score=recency budget=uniform({budget}) protect=sinks({sinks}) schedule=chunks({every}) "
          "position={position}"};
  return info;
}

}  // namespace kvasir
