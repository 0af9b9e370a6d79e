#include "kvasir/policy/selectors/bounds_index.h"
#include "kvasir/policy/selectors/selector_values.h"

namespace kvasir {
namespace {

constexpr SelectorParam kParams[] = {
    {.name = "pages",
     .fallback = "64",
     .min = 1,
     .max = 1 << 24,
     .help = "pages of 16 tokens read"},
    {.name = "group", .fallback = "sum", .choices = kGroupRules, .help = kGroupRuleHelp},
    {.name = "dense", .fallback = "2", .min = 0, .max = 1 << 16, .help = "first layers read whole"},
};

Result<std::unique_ptr<Selector>> Make(const SelectorValues& values, const SelectorShape& shape) {
  const BoundsChoice rule = {.n_unit = values.Int("pages"),
                             .group = ParseGroupRule(values.Text("group"))};
  auto indices = MakeIndices(shape, static_cast<int>(values.Int("dense")),
                             [&](int, int) { return MakeBoundsIndex(rule, shape); });
  return std::unique_ptr<Selector>(std::make_unique<PagedSelector>(shape, 1, std::move(indices)));
}

}  // namespace

const SelectorInfo& quest_selector() {
  static constexpr SelectorInfo info = {
      .name = "quest",
      .summary = "pages with the largest bound on any q.k, from per-channel key extremes",
      .card = "Quest, arXiv:2406.10774",
      .params = kParams,
      .make = Make};
  return info;
}

}  // namespace kvasir
