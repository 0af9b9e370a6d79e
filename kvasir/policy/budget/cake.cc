// Layers whose window attends widely (entropy H) and unsteadily (variance V) get more:
// preference = H^(1/tau1) * V^(1/tau2). Protected tokens are added everywhere.
#include <cmath>

#include "kvasir/policy/budget.h"
#include "kvasir/policy/window_moments.h"

namespace kvasir {
namespace {

class CakeBudget final : public BudgetAllocator {
 public:
  explicit CakeBudget(const PartArgs& args)
      : amount_(args.AmountOf("tokens")),
        tau1_(args.Real("tau1")),
        tau2_(args.Real("tau2")),
        window_(static_cast<int>(args.Int("rows"))) {}
  Amount amount() const override { return amount_; }
  int window() const override { return window_; }

  Result<double> Observe(const ScoreContext& context, const LayerScores&,
                         AttendScratch& scratch) const override {
    double entropy = 0, shift = 0;
    for (int kv_head = 0; kv_head < context.shape().n_kv_head; ++kv_head) {
      KVASIR_ASSIGN_OR_RETURN(const WindowMoments m,
                              ComputeWindowMoments(context, kv_head, window_, scratch));
      entropy += m.entropy;
      const int64_t n_before = m.n - std::min(window_, context.tap->n_window(context.layer));
      for (int r = 0; r < m.group; ++r) {
        for (int64_t t = 0; t < n_before; ++t) shift += m.variance[r * m.n + t];
      }
    }
    return std::pow(std::max(0.0, entropy), 1 / tau1_) * std::pow(shift, 1 / tau2_);
  }

  void Weights(const BudgetInput& input, std::span<double> weights) const override {
    double sum = 0;
    int64_t rest = input.total;
    for (const BudgetCell& cell : input.cells) {
      sum += input.layer_statistic[cell.layer];
      rest -= cell.floor;
    }
    const double scale = sum > 0 ? std::max(0.0, static_cast<double>(rest)) / sum : 0.0;
    for (size_t i = 0; i < weights.size(); ++i) {
      const BudgetCell& cell = input.cells[i];
      weights[i] = static_cast<double>(cell.floor) + scale * input.layer_statistic[cell.layer];
    }
  }

 private:
  Amount amount_;
  double tau1_, tau2_;
  int window_;
};

}  // namespace

const PartInfo& budget_cake_part() {
  static constexpr ParamInfo params[] = {
      {"tokens", ParamType::kAmount, "", 1, 1e9, "tokens a head keeps, on average"},
      {"tau1", ParamType::kReal, "1.6", 0.01, 100, "temperature of the entropy"},
      {"tau2", ParamType::kReal, "0.4", 0.01, 100, "temperature of the variance"},
      {"rows", ParamType::kInt, "32", 1, 1024, "queries that look back"},
  };
  static constexpr PartInfo info = {.kind = PartKind::kBudget,
                                    .name = "cake",
                                    .summary = "more for layers that attend widely and unsteadily",
                                    .card = "CAKE, arXiv:2503.12491",
                                    .params = params,
                                    .needs = kNeedWindowRows,
                                    .cost = "w*T*d multiply-adds a query head, once",
                                    .make = MakePart<CakeBudget>};
  return info;
}

}  // namespace kvasir
