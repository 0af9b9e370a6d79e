// Linear over the layers, most in the lowest: (B - p) / beta in the last, p protected tokens added
// everywhere.
#include <algorithm>

#include "kvasir/policy/budget.h"

namespace kvasir {
namespace {

class Pyramid final : public BudgetAllocator {
 public:
  explicit Pyramid(const PartArgs& args)
      : amount_(args.AmountOf("tokens")), beta_(args.Real("beta")) {}
  Amount amount() const override { return amount_; }
  // From the layer's place in the whole model, so that a cascade ends where one cut would.
  void Weights(const BudgetInput& input, std::span<double> weights) const override {
    const double n_step = std::max(1, input.shape->n_layer - 1);
    for (size_t i = 0; i < weights.size(); ++i) {
      const auto floor = static_cast<double>(input.cells[i].floor);
      const double rest = std::max(0.0, input.mean - floor), low = rest / beta_;
      const double depth = input.cells[i].layer / n_step;
      weights[i] = floor + (2 * rest - low) * (1 - depth) + low * depth;
    }
  }

 private:
  Amount amount_;
  double beta_;
};

}  // namespace

const PartInfo& budget_pyramid_part() {
  static constexpr ParamInfo params[] = {
      {"tokens", ParamType::kAmount, "", 1, 1e9, "tokens a head keeps, on average"},
      {"beta", ParamType::kReal, "20", 1, 1000, "the last layer gets the mean divided by this"},
  };
  static constexpr PartInfo info = {.kind = PartKind::kBudget,
                                    .name = "pyramid",
                                    .summary = "falls linearly from the first layer to the last",
                                    .card = "PyramidKV, arXiv:2406.02069",
                                    .params = params,
                                    .cost = "none",
                                    .make = MakePart<Pyramid>};
  return info;
}

}  // namespace kvasir
