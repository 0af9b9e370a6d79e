// Attention that all queries so far paid to each token.
#include "kvasir/policy/scorer.h"

namespace kvasir {
namespace {

class Columns final : public Scorer {
 public:
  explicit Columns(const PartArgs& args) : mean_(args.Flag("mean")) {}
  bool per_query_head() const override { return true; }
  bool is_share() const override { return true; }
  Status Score(const ScoreContext& context, int kv_head, AttendScratch&,
               HeadScores* scores) const override {
    const std::vector<int32_t> pos = context.list(kv_head).AllPositions();
    for (int r = 0; r < scores->n_row; ++r) {
      const std::span<const float> sums = context.tap->column_sums(context.layer, kv_head, r);
      for (size_t i = 0; i < pos.size(); ++i) {
        // n_pos - pos queries were late enough to see the token.
        const float n_seen = mean_ ? static_cast<float>(context.n_pos - pos[i]) : 1.0f;
        scores->row(r)[i] = sums[i] / n_seen;
      }
    }
    return Status::Ok();
  }

 private:
  bool mean_;
};

}  // namespace

const PartInfo& score_columns_part() {
  static constexpr ParamInfo params[] = {
      {"mean", ParamType::kFlag, "0", 0, 1, "divide by the queries that could see the token"},
  };
  static constexpr PartInfo info = {
      .kind = PartKind::kScore,
      .name = "columns",
      .summary = "summed attention of all queries",
      .card = "H2O, arXiv:2306.14048",
      .params = params,
      .needs = kNeedColumnSums,
      .cost = "T*T*d multiply-adds a query head over the prompt; 4 bytes a token and query head",
      .make = MakePart<Columns>};
  return info;
}

}  // namespace kvasir
