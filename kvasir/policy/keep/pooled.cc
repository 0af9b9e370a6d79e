// The heads of a layer, or of the model, compete: their budget goes to the best tokens of all,
// after each head has taken a share of its own budget. Head budgets fall out of the scores.
#include <algorithm>

#include "kvasir/policy/keep.h"

namespace kvasir {
namespace {

class Pooled final : public KeepRule {
 public:
  explicit Pooled(const PartArgs& args)
      : floor_(args.Real("floor")),
        scope_(args.Flag("model") ? KeepScope::kModel : KeepScope::kLayer) {}
  KeepScope scope() const override { return scope_; }
  bool even_heads() const override { return false; }
  std::vector<std::vector<int32_t>> Select(std::span<const KeepCell> cells) const override;

 private:
  double floor_;
  KeepScope scope_;
};

std::vector<std::vector<int32_t>> Pooled::Select(std::span<const KeepCell> cells) const {
  std::vector<std::vector<int32_t>> kept;
  std::vector<RankedToken> rest;  // not kept yet, of all heads
  int64_t total = 0;
  for (size_t i = 0; i < cells.size(); ++i) {
    KeepCell cell = cells[i];
    total += cell.budget;
    const auto n_protected =
        std::count_if(cell.is_protected.begin(), cell.is_protected.end(), [](auto f) { return f; });
    cell.budget = std::max<int64_t>(
        n_protected, static_cast<int64_t>(floor_ * static_cast<double>(cell.budget)));
    kept.push_back(KeepBest(cell));
    total -= static_cast<int64_t>(kept[i].size());
    AppendOthers(cell, kept[i], static_cast<int32_t>(i), &rest);
  }
  const auto n_more =
      std::min<size_t>(static_cast<size_t>(std::max<int64_t>(0, total)), rest.size());
  std::partial_sort(rest.begin(), rest.begin() + n_more, rest.end(), RanksBefore);
  for (size_t i = 0; i < n_more; ++i) kept[rest[i].cell].push_back(rest[i].index);
  for (auto& indices : kept) std::sort(indices.begin(), indices.end());
  return kept;
}

}  // namespace

const PartInfo& keep_pooled_part() {
  static constexpr ParamInfo params[] = {
      {"floor", ParamType::kReal, "0.2", 0, 1,
       "share of its budget that each head keeps in any case"},
      {"model", ParamType::kFlag, "0", 0, 1, "all heads of all layers compete"},
  };
  static constexpr PartInfo info = {.kind = PartKind::kKeep,
                                    .name = "pooled",
                                    .summary = "the heads of a layer compete for its budget",
                                    .card = "AdaKV, arXiv:2407.11550",
                                    .params = params,
                                    .cost = "one selection a layer",
                                    .make = MakePart<Pooled>};
  return info;
}

}  // namespace kvasir
