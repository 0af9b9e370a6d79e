// The same for every (layer, kv head).
#include <algorithm>

#include "kvasir/policy/budget.h"

namespace kvasir {
namespace {

class Uniform final : public BudgetAllocator {
 public:
  explicit Uniform(const PartArgs& args) : amount_(args.AmountOf("tokens")) {}
  Amount amount() const override { return amount_; }
  void Weights(const BudgetInput&, std::span<double> weights) const override {
    std::fill(weights.begin(), weights.end(), 1.0);
  }

 private:
  Amount amount_;
};

}  // namespace

const PartInfo& budget_uniform_part() {
  static constexpr ParamInfo params[] = {
      {"tokens", ParamType::kAmount, "", 1, 1e9, "tokens a head keeps"},
  };
  static constexpr PartInfo info = {.kind = PartKind::kBudget,
                                    .name = "uniform",
                                    .summary = "the same for every layer and kv head",
                                    .card = "",
                                    .params = params,
                                    .cost = "none",
                                    .make = MakePart<Uniform>};
  return info;
}

}  // namespace kvasir
