// Value-only merge: the value of an evicted token is mixed into that of the kept token with the
// most similar key, w = cos * |v_e| / (|v_e| + |v_t|); keys stay. With counts, the kept token also
// takes over the evicted one's weight in the softmax.
#include "kvasir/policy/disposition/merging.h"
#include "kvasir/policy/token_rows.h"

namespace kvasir {
namespace {

class ValueMerge final : public Disposition {
 public:
  explicit ValueMerge(const PartArgs& args)
      : count_(args.Flag("count")), least_(static_cast<float>(args.Real("least"))) {}

  Result<ListContents> Cut(const CutInput& input, std::vector<float>*) const override {
    KVASIR_ASSIGN_OR_RETURN(MergeWork work, MergeWork::Create(input, 1));
    TokenRows& kept = work.kept();
    const int d = kept.head_dim;
    std::vector<float> norm(static_cast<size_t>(kept.n()));  // of the values as they were
    for (int64_t i = 0; i < kept.n(); ++i) norm[i] = Norm(kept.value(i).data(), d);
    std::vector<double> weight = kept.count, gained(norm.size());
    std::vector<double> sum(norm.size() * d);  // of what is mixed in
    KVASIR_RETURN_IF_ERROR(
        work.VisitEvicted(input, [&](int64_t, TokenRows& rows, std::span<const Nearest> nearest) {
          for (int64_t i = 0; i < rows.n(); ++i) {
            const auto [target, cosine] = nearest[i];
            const std::span<const float> v = rows.value(i);
            const float v_norm = Norm(v.data(), d);
            if (!(cosine > 0) || cosine < least_ || !(v_norm + norm[target] > 0)) continue;
            const double w = rows.count[i] * cosine * v_norm / (v_norm + norm[target]);
            for (int j = 0; j < d; ++j) sum[int64_t{target} * d + j] += w * v[j];
            weight[target] += w;
            gained[target] += rows.count[i];
          }
        }));
    for (int64_t i = 0; i < kept.n(); ++i) {
      if (gained[i] == 0) continue;
      std::span<float> v = kept.value(i);
      for (int j = 0; j < d; ++j) {
        v[j] = static_cast<float>((kept.count[i] * v[j] + sum[i * d + j]) / weight[i]);
      }
      if (count_) kept.count[i] += gained[i];
    }
    return std::move(work).Finish(input);
  }

 private:
  bool count_;
  float least_;
};

}  // namespace

const PartInfo& disposition_vmerge_part() {
  static constexpr ParamInfo params[] = {
      {"count", ParamType::kInt, "1", 0, 1, "add the logarithm of the count to the logit"},
      {"least", ParamType::kReal, "0", -1, 2, "tokens less similar than this are dropped"},
  };
  static constexpr PartInfo info = {
      .kind = PartKind::kDisposition,
      .name = "vmerge",
      .summary = "values are mixed into the token with the nearest key",
      .card = "value-only merge, as in kvpress' MergingPress",
      .params = params,
      .needs = kNeedKeys | kNeedValues,
      .cost = "d multiply-adds for each pair of an evicted and a kept token",
      .make = MakePart<ValueMerge>};
  return info;
}

}  // namespace kvasir
