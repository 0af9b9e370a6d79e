// ChunkKV: phrases stay or go as a whole, the same for all heads of a layer.
#include "kvasir/policy/recipe.h"

namespace kvasir {

const PresetInfo& chunkkv_recipe() {
  static constexpr ParamInfo params[] = {
      {"budget", ParamType::kAmount, "1024", 1, 1e9, "tokens a head keeps, or a share"},
      {"window", ParamType::kInt, "8", 1, 1024, "last queries of the prompt that judge"},
      {"chunk", ParamType::kInt, "10", 1, 4096, "tokens of a chunk"},
  };
  static constexpr PresetInfo info = {.name = "chunkkv",
                                      .summary = "whole chunks that the last queries look at",
                                      .card = "ChunkKV, arXiv:2502.00299",
                                      .params = params,
                                      .text =
                                          "score=window({window}) reduce=all "
                                          "shape=chunks({chunk}) budget=uniform({budget})"};
  return info;
}

}  // namespace kvasir
