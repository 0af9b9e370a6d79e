// Attention that the last queries of the prompt pay to each token.
#include "kvasir/policy/scorer.h"

namespace kvasir {
namespace {

class WindowScore final : public Scorer {
 public:
  explicit WindowScore(const PartArgs& args) : window_(static_cast<int>(args.Int("rows"))) {}
  int window() const override { return window_; }
  // A lone last query judges every token but itself.
  int unjudged_recent() const override { return window_ == 1 ? 0 : window_; }
  bool per_query_head() const override { return true; }
  bool is_share() const override { return true; }
  Status Score(const ScoreContext& context, int kv_head, AttendScratch& scratch,
               HeadScores* scores) const override {
    const int group = context.shape().group();
    const int n = context.tap->n_window(context.layer);
    const float share = n > 0 ? 1.0f / static_cast<float>(n) : 0.0f;
    return context.tap->VisitWindow(
        context.layer, kv_head, n, *context.cache, scratch,
        [&](const float* weights, int stride, int, int n_query, int64_t first, int n_token) {
          for (int row = 0; row < n_query * group; ++row) {
            float* sum = scores->row(row % group).data() + first;
            const float* w = weights + int64_t{row} * stride;
            for (int t = 0; t < n_token; ++t) sum[t] += w[t] * share;
          }
        });
  }

 private:
  int window_;
};

}  // namespace

const PartInfo& score_window_part() {
  static constexpr ParamInfo params[] = {
      {"rows", ParamType::kInt, "32", 1, 1024,
       "queries that look back; as many newest tokens stay"},
  };
  static constexpr PartInfo info = {.kind = PartKind::kScore,
                                    .name = "window",
                                    .summary = "mean attention of the last queries",
                                    .card = "SnapKV, arXiv:2404.14469",
                                    .params = params,
                                    .needs = kNeedWindowRows,
                                    .cost = "w*T*d multiply-adds a query head, once",
                                    .make = MakePart<WindowScore>};
  return info;
}

}  // namespace kvasir
