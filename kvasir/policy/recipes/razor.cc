// RazorAttention: retrieval heads keep all, the others a window and a token for the rest.
#include "kvasir/policy/recipe.h"

namespace kvasir {

const PresetInfo& razor_recipe() {
  static constexpr ParamInfo params[] = {
      {"echo", ParamType::kReal, "1", 0, 100, "percent of the heads, best by echo"},
      {"induction", ParamType::kReal, "14", 0, 100, "percent of the heads, best by induction"},
      {"least", ParamType::kInt, "4000", 0, 1e6, "newest tokens that other heads keep at least"},
      {"percent", ParamType::kReal, "20", 0, 100, "newest tokens they keep, of those seen"},
      {"sinks", ParamType::kInt, "4", 0, 1e6, "first tokens that always stay"},
      {"every", ParamType::kInt, "64", 1, 65536, "generated tokens between cuts"},
      {"file", ParamType::kText, "probe", 0, 0,
       "head table; probe = made when the model is loaded"},
  };
  static constexpr PresetInfo info = {
      .name = "razor",
      .summary = "retrieval heads whole; the others keep a window and one token for the rest",
      .card = "RazorAttention, arXiv:2407.15891",
      .params = params,
      .text =
          "heads=razor({echo},{induction},{file}) protect=sinks({sinks}),share({least},{percent}) "
          "disposition=compensate schedule=steps({every})"};
  return info;
}

}  // namespace kvasir
