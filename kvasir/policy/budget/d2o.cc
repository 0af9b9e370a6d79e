// Layers whose attention is spread evenly over the tokens get more: weight = exp(-F), where F is
// the variance over tokens of a head's column sums, brought to [0, 1] over the heads of the layer
// and averaged.
#include <algorithm>
#include <cmath>

#include "kvasir/policy/budget.h"

namespace kvasir {
namespace {

double Variance(std::span<const float> x) {
  double mean = 0, sum = 0;
  for (float f : x) mean += f;
  mean /= static_cast<double>(x.size());
  for (float f : x) sum += (f - mean) * (f - mean);
  return sum / static_cast<double>(x.size());
}

class D2oBudget final : public BudgetAllocator {
 public:
  explicit D2oBudget(const PartArgs& args) : amount_(args.AmountOf("tokens")) {}
  Amount amount() const override { return amount_; }

  Result<double> Observe(const ScoreContext& context, const LayerScores&,
                         AttendScratch&) const override {
    std::vector<double> variance;
    for (int h = 0; h < context.shape().n_head; ++h) {
      const int group = context.shape().group();
      const auto sums = context.tap->column_sums(context.layer, h / group, h % group);
      if (!sums.empty()) variance.push_back(Variance(sums));
    }
    if (variance.empty()) return 0.0;
    const auto [low, high] = std::minmax_element(variance.begin(), variance.end());
    if (*high <= *low) return 0.0;
    double sum = 0;
    for (double x : variance) sum += (x - *low) / (*high - *low);
    return sum / static_cast<double>(variance.size());
  }

  void Weights(const BudgetInput& input, std::span<double> weights) const override {
    for (size_t i = 0; i < weights.size(); ++i) {
      weights[i] = std::exp(-input.layer_statistic[input.cells[i].layer]);
    }
  }

 private:
  Amount amount_;
};

}  // namespace

const PartInfo& budget_d2o_part() {
  static constexpr ParamInfo params[] = {
      {"tokens", ParamType::kAmount, "20%", 1, 1e9, "tokens a head keeps, on average"},
  };
  static constexpr PartInfo info = {.kind = PartKind::kBudget,
                                    .name = "d2o",
                                    .summary = "more for layers that attend evenly",
                                    .card = "D2O, arXiv:2406.13035",
                                    .params = params,
                                    .needs = kNeedColumnSums,
                                    .cost = "none beyond column sums",
                                    .make = MakePart<D2oBudget>};
  return info;
}

}  // namespace kvasir
