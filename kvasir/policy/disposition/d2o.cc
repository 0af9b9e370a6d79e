// D2O: an evicted token is merged into the kept token with the nearest key if it is at least as
// similar as evicted tokens are wont to be, else dropped. Weights are e^cosine, the target's e^1,
// normalised. The threshold is the mean similarity of the first cut and moves with later ones.
#include <cmath>

#include "kvasir/policy/disposition/merging.h"

namespace kvasir {
namespace {

// Duplicates are all as similar as can be, up to rounding, and all of them must merge.
constexpr float kRounding = 1e-5f;

class NearestMerge final : public Disposition {
 public:
  explicit NearestMerge(const PartArgs& args)
      : keys_(args.Flag("keys")),
        count_(args.Int("count") != 0),
        memory_(args.Real("memory")),
        least_(args.Real("least")) {}

  bool changes_keys() const override { return keys_; }

  Result<ListContents> Cut(const CutInput& input, std::vector<float>* state) const override {
    KVASIR_ASSIGN_OR_RETURN(MergeWork work, MergeWork::Create(input, keys_ ? 2 : 1));
    KVASIR_ASSIGN_OR_RETURN(const float threshold, Threshold(work, input, state));
    TokenRows& kept = work.kept();
    const int d = kept.head_dim;
    const size_t n = kept.pos.size();
    std::vector<double> weight(n), gained(n);
    std::vector<double> k(keys_ ? n * d : 0), v(n * d);  // sums of what is merged in
    KVASIR_RETURN_IF_ERROR(
        work.VisitEvicted(input, [&](int64_t, TokenRows& rows, std::span<const Nearest> nearest) {
          for (int64_t i = 0; i < rows.n(); ++i) {
            const auto [target, cosine] = nearest[i];
            if (!(cosine >= threshold - kRounding)) continue;
            const double w = rows.count[i] * std::exp(double{cosine});
            const int64_t offset = int64_t{target} * d;
            for (int j = 0; j < d; ++j) {
              v[offset + j] += w * rows.value(i)[j];
              if (keys_) k[offset + j] += w * rows.key(i)[j];
            }
            weight[target] += w;
            gained[target] += rows.count[i];
          }
        }));
    for (size_t i = 0; i < n; ++i) {
      if (gained[i] == 0) continue;
      const double own = kept.count[i] * std::exp(1.0), total = own + weight[i];
      const auto mix = [&](std::span<float> row, const std::vector<double>& sum) {
        for (int j = 0; j < d; ++j) {
          row[j] = static_cast<float>((own * row[j] + sum[i * d + j]) / total);
        }
      };
      mix(kept.value(i), v);
      if (keys_) mix(kept.key(i), k);
      if (count_) kept.count[i] += gained[i];
    }
    return std::move(work).Finish(input);
  }

 private:
  // state: the threshold, once there was a cut.
  Result<float> Threshold(const MergeWork& work, const CutInput& input,
                          std::vector<float>* state) const {
    double sum = 0;
    KVASIR_RETURN_IF_ERROR(
        work.VisitEvicted(input, [&](int64_t, TokenRows&, std::span<const Nearest> nearest) {
          for (const Nearest& near : nearest) sum += near.cosine;
        }));
    const double mean = sum / static_cast<double>(input.evicted.size());
    const double moved = state->empty() ? mean : memory_ * state->front() + (1 - memory_) * mean;
    state->assign(1, static_cast<float>(moved));
    return std::max(state->front(), static_cast<float>(least_));
  }

  bool keys_, count_;
  double memory_, least_;
};

}  // namespace

const PartInfo& disposition_d2o_part() {
  static constexpr ParamInfo params[] = {
      {"keys", ParamType::kFlag, "0", 0, 1, "merge rotated keys too"},
      {"count", ParamType::kInt, "1", 0, 1, "add the logarithm of the count to the logit"},
      {"memory", ParamType::kReal, "0.5", 0, 1, "share of the old threshold in the new"},
      {"least", ParamType::kReal, "-1", -1, 2, "the threshold is never below this"},
  };
  static constexpr PartInfo info = {
      .kind = PartKind::kDisposition,
      .name = "d2o",
      .summary = "similar tokens are merged into the nearest kept one, others dropped",
      .card = "D2O, arXiv:2406.13035",
      .params = params,
      .needs = kNeedKeys | kNeedValues,
      .cost = "2*d multiply-adds for each pair of an evicted and a kept token",
      .make = MakePart<NearestMerge>};
  return info;
}

}  // namespace kvasir
