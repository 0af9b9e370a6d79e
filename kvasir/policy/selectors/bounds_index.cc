#include "kvasir/policy/selectors/bounds_index.h"

#include <algorithm>
#include <utility>

namespace kvasir {
namespace {

class BoundsIndex final : public HeadIndex {
 public:
  BoundsIndex(const BoundsChoice& rule, int head_dim, PageBounds bounds)
      : rule_(rule), head_dim_(head_dim), bounds_(std::move(bounds)) {
    n_kv_ = bounds_.n_kv();
  }

  Status Append(int64_t n, const float* k, int64_t stride) override {
    KVASIR_RETURN_IF_ERROR(bounds_.Append(n, k, stride));
    n_kv_ += n;
    return Status::Ok();
  }
  void Truncate(int64_t n) override {
    bounds_.Truncate(n);
    n_kv_ = n;
  }
  Status SetPageBias(std::span<const float> bias) override { return bounds_.SetBias(bias); }
  int64_t bytes() const override { return bounds_.bytes(); }
  Result<std::unique_ptr<HeadIndex>> Copy() const override {
    KVASIR_ASSIGN_OR_RETURN(PageBounds copy, bounds_.Copy());
    return std::unique_ptr<HeadIndex>(
        std::make_unique<BoundsIndex>(rule_, head_dim_, std::move(copy)));
  }

  Result<bool> Choose(const QueryRows& rows, SelectScratch& scratch,
                      PageChoice* choice) const override {
    const int64_t unit_tokens = int64_t{rule_.unit_pages} * kPageTokens;
    const int64_t n_unit = (n_kv_ + unit_tokens - 1) / unit_tokens;
    if (n_unit <= rule_.n_unit) return false;
    const int64_t stride = bounds_.n_tile() * kTileTokens;
    KVASIR_RETURN_IF_ERROR(scratch.q.Resize(int64_t{2} * rows.n_row * head_dim_));
    KVASIR_RETURN_IF_ERROR(scratch.scores.Resize(rows.n_row * stride));
    KVASIR_RETURN_IF_ERROR(scratch.reduced.Resize(stride));
    KVASIR_RETURN_IF_ERROR(scratch.chosen.Resize(n_unit));
    float* scores = scratch.scores.data();
    bounds_.Score(rows, scratch.q.data(), scores, stride);
    ShapeScores(rows, bounds_.n_page(), stride, bounds_.bias(), scores);
    if (rule_.unit_pages > 1) {
      FoldScores(rows.n_row, bounds_.n_page(), stride, rule_.unit_pages, scores);
    }
    std::fill_n(scratch.chosen.data(), n_unit, uint8_t{0});
    MarkBest(rule_.group, rows.n_row, n_unit, stride, rule_.n_unit, {.last = n_unit - 1}, scores,
             scratch.reduced.data(), scratch.chosen.data());
    return MarkedRanges(scratch.chosen.data(), n_unit, unit_tokens, n_kv_, &choice->ranges);
  }

  std::vector<float> Certify(const PageChoice& choice, const QueryRows& rows,
                             const StateView& attended) const override {
    MassCertificate certificate(rows, attended, n_kv_, bounds_.Magnitudes(rows));
    size_t at = 0;
    for (int64_t page = 0; page < bounds_.n_page(); ++page) {
      const int64_t begin = page * kPageTokens;
      const int64_t end = std::min(n_kv_, begin + kPageTokens);
      const int64_t n_skipped = CountSkipped(choice.ranges, begin, end, &at);
      if (n_skipped == 0) continue;
      const double bias = bounds_.bias() != nullptr ? bounds_.bias()[page] : 0;
      for (int r = 0; r < rows.n_row; ++r) {
        certificate.Skip(r, n_skipped, bounds_.Bound(page, rows.q + int64_t{r} * head_dim_), bias);
      }
    }
    return certificate.Shares();
  }

 private:
  BoundsChoice rule_;
  int head_dim_;
  PageBounds bounds_;
};

}  // namespace

std::unique_ptr<HeadIndex> MakeBoundsIndex(const BoundsChoice& rule, const SelectorShape& shape) {
  return std::make_unique<BoundsIndex>(rule, shape.head_dim,
                                       PageBounds(shape.head_dim, shape.arena));
}

}  // namespace kvasir
