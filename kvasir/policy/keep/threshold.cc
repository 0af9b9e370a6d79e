// Every token whose score reaches a bound, up to the budget.
#include "kvasir/policy/keep.h"

namespace kvasir {
namespace {

class Threshold final : public KeepRule {
 public:
  explicit Threshold(const PartArgs& args) : least_(static_cast<float>(args.Real("least"))) {}
  bool even_heads() const override { return false; }
  bool fills_budget() const override { return false; }
  std::vector<std::vector<int32_t>> Select(std::span<const KeepCell> cells) const override {
    std::vector<std::vector<int32_t>> kept;
    for (const KeepCell& cell : cells) {
      std::vector<int32_t> best = KeepBest(cell);
      std::erase_if(best,
                    [&](int32_t i) { return !cell.is_protected[i] && !(cell.score[i] >= least_); });
      kept.push_back(std::move(best));
    }
    return kept;
  }

 private:
  float least_;
};

}  // namespace

const PartInfo& keep_threshold_part() {
  static constexpr ParamInfo params[] = {
      {"least", ParamType::kReal, "", -1e9, 1e9, "lowest score that stays"},
  };
  static constexpr PartInfo info = {
      .kind = PartKind::kKeep,
      .name = "threshold",
      .summary = "tokens whose score reaches a bound, at most the budget",
      .card = "KVzap, arXiv:2601.07891",
      .params = params,
      .cost = "one selection a head",
      .make = MakePart<Threshold>};
  return info;
}

}  // namespace kvasir
