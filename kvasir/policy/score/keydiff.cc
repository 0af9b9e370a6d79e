// Unusual keys are worth keeping: score = -cos(key, mean of all unit keys).
#include "kvasir/policy/scorer.h"
#include "kvasir/policy/token_rows.h"

namespace kvasir {
namespace {

// A key of no length is like every other.
float InverseNorm(const float* k, int d) {
  const float norm = Norm(k, d);
  return norm > 0 ? 1.0f / norm : 0.0f;
}

class KeyDiff final : public Scorer {
 public:
  Status Score(const ScoreContext& context, int kv_head, AttendScratch&,
               HeadScores* scores) const override {
    const SegmentList& list = context.list(kv_head);
    const int d = context.shape().head_dim;
    std::vector<double> mean(static_cast<size_t>(d));  // its length does not change the order
    KVASIR_RETURN_IF_ERROR(VisitRows(list, [&](int64_t, const float* k, const float*) {
      const float scale = InverseNorm(k, d);
      for (int j = 0; j < d; ++j) mean[j] += k[j] * scale;
    }));
    double square = 0;
    for (double x : mean) square += x * x;
    if (square > 0) {
      for (double& x : mean) x /= std::sqrt(square);
    }
    return VisitRows(list, [&](int64_t t, const float* k, const float*) {
      double dot = 0;
      for (int j = 0; j < d; ++j) dot += k[j] * mean[j];
      scores->at[t] = static_cast<float>(-dot * InverseNorm(k, d));
    });
  }
};

}  // namespace

const PartInfo& score_keydiff_part() {
  static constexpr PartInfo info = {.kind = PartKind::kScore,
                                    .name = "keydiff",
                                    .summary = "the less a key resembles the mean key the better",
                                    .card = "KeyDiff, arXiv:2504.15364",
                                    .params = {},
                                    .needs = kNeedKeys,
                                    .cost = "2*d multiply-adds a token and kv head",
                                    .make = MakePart<KeyDiff>};
  return info;
}

}  // namespace kvasir
