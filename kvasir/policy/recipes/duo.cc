// DuoAttention: retrieval heads keep all, streaming heads sinks and recent tokens.
#include "kvasir/policy/recipe.h"

namespace kvasir {

const PresetInfo& duo_recipe() {
  static constexpr ParamInfo params[] = {
      {"retrieval", ParamType::kReal, "50", 0, 100, "percent of the kv heads that are kept whole"},
      {"sinks", ParamType::kInt, "64", 0, 1e6, "first tokens that streaming heads see"},
      {"recent", ParamType::kInt, "256", 1, 1e6, "newest tokens that streaming heads see"},
      {"file", ParamType::kText, "probe", 0, 0,
       "head table; probe = made when the model is loaded"},
      {"every", ParamType::kInt, "64", 1, 65536, "generated tokens between cuts"},
  };
  static constexpr PresetInfo info = {
      .name = "duo",
      .summary = "retrieval heads whole; streaming heads see sinks and recent tokens only",
      .card = "DuoAttention, arXiv:2410.10819",
      .params = params,
      .text =
          "heads=duo({retrieval},{sinks},{recent},{file}) "
          "protect=sinks({sinks}),recent({recent}) schedule=chunks({every})"};
  return info;
}

}  // namespace kvasir
