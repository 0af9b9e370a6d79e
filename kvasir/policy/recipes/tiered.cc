// Two tiers, as in MiKV: heavy hitters as they are, everything else in few bits. MiKV's are two, and
// where two bits of a key are too few, what they add to attention is worse than what a drop takes
// away: docs/choose.md.
#include "kvasir/policy/recipe.h"

namespace kvasir {

const PresetInfo& tiered_recipe() {
  static constexpr ParamInfo params[] = {
      {"budget", ParamType::kAmount, "20%", 1, 1e9, "tokens a head keeps dense, or a share"},
      {"codec", ParamType::kText, "kivi:4", 0, 0, "number format of the others"},
      {"recent", ParamType::kInt, "64", 0, 1e6, "newest tokens that stay dense"},
  };
  static constexpr PresetInfo info = {
      .name = "tiered",
      .summary = "h2o that demotes where h2o drops",
      .card = "MiKV, arXiv:2402.18096",
      .params = params,
      .text =
          "score=columns reduce=mean budget=uniform({budget}) protect=recent({recent}) "
          "disposition=demote({codec})"};
  return info;
}

}  // namespace kvasir
