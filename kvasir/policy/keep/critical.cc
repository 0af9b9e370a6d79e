// CriticalKV: a part of the budget goes to the tokens of the best scores, the rest to those whose
// score times the length of W_O v is largest: what is attended to matters by what it says.
#include <algorithm>

#include "kvasir/policy/keep.h"

namespace kvasir {
namespace {

class Critical final : public KeepRule {
 public:
  explicit Critical(const PartArgs& args)
      : first_(args.Real("first")), least_(static_cast<float>(args.Real("least"))) {}
  // Values differ between heads, whatever their scores.
  bool even_heads() const override { return false; }
  bool weighs_scores() const override { return true; }
  std::vector<std::vector<int32_t>> Select(std::span<const KeepCell> cells) const override {
    std::vector<std::vector<int32_t>> kept;
    for (const KeepCell& cell : cells) kept.push_back(Best(cell));
    return kept;
  }

 private:
  std::vector<int32_t> Best(const KeepCell& cell) const {
    KeepCell by_score = cell, by_effect = cell;
    by_score.budget = static_cast<int64_t>(first_ * static_cast<double>(cell.budget));
    // What is kept already stays.
    std::vector<uint8_t> stays(cell.score.size());
    for (int32_t i : KeepBest(by_score)) stays[i] = 1;
    std::vector<float> effect(cell.score.size());
    for (size_t i = 0; i < effect.size(); ++i) {
      effect[i] = (cell.score[i] + least_) * cell.output[i];
    }
    by_effect.is_protected = stays;
    by_effect.score = effect;
    return KeepBest(by_effect);
  }

  double first_;
  float least_;
};

}  // namespace

const PartInfo& keep_critical_part() {
  static constexpr ParamInfo params[] = {
      {"first", ParamType::kReal, "0.5", 0, 1, "share of the budget that goes by score alone"},
      {"least", ParamType::kReal, "0.0001", 0, 1, "what is added to a score before it is weighed"},
  };
  static constexpr PartInfo info = {
      .kind = PartKind::kKeep,
      .name = "critical",
      .summary = "half by score, half by score times what the value does to the hidden state",
      .card = "CriticalKV, arXiv:2502.03805",
      .params = params,
      .needs = kNeedValues | kNeedOutput,
      .cost = "one output projection of each held token, at each cut",
      .make = MakePart<Critical>};
  return info;
}

}  // namespace kvasir
