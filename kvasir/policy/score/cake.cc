// Attention of the last queries, and how much it shifts between them: mean + gamma * variance.
#include "kvasir/policy/window_moments.h"

namespace kvasir {
namespace {

class CakeScore final : public Scorer {
 public:
  explicit CakeScore(const PartArgs& args)
      : window_(static_cast<int>(args.Int("rows"))), gamma_(args.Real("gamma")) {}
  int window() const override { return window_; }
  bool per_query_head() const override { return true; }
  bool is_share() const override { return true; }
  Status Score(const ScoreContext& context, int kv_head, AttendScratch& scratch,
               HeadScores* scores) const override {
    KVASIR_ASSIGN_OR_RETURN(const WindowMoments m,
                            ComputeWindowMoments(context, kv_head, window_, scratch));
    for (size_t i = 0; i < scores->at.size(); ++i) {
      scores->at[i] = static_cast<float>(m.mean[i] + gamma_ * m.variance[i]);
    }
    return Status::Ok();
  }

 private:
  int window_;
  double gamma_;
};

}  // namespace

const PartInfo& score_cake_part() {
  static constexpr ParamInfo params[] = {
      {"rows", ParamType::kInt, "32", 1, 1024,
       "queries that look back; as many newest tokens stay"},
      {"gamma", ParamType::kReal, "200", 0, 1e6, "weight of the variance over the queries"},
  };
  static constexpr PartInfo info = {.kind = PartKind::kScore,
                                    .name = "cake",
                                    .summary = "mean and variance of the last queries' attention",
                                    .card = "CAKE, arXiv:2503.12491",
                                    .params = params,
                                    .needs = kNeedWindowRows,
                                    .cost = "w*T*d multiply-adds a query head, once",
                                    .make = MakePart<CakeScore>};
  return info;
}

}  // namespace kvasir
