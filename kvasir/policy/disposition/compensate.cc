// RazorAttention: what is dropped leaves one token behind, with the mean key, the mean value and
// the logarithm of how many there were added to its logit.
#include <algorithm>
#include <cmath>

#include "kvasir/policy/disposition/merging.h"

namespace kvasir {
namespace {

// The state is (count, mean key, mean value) of all tokens dropped so far; empty before the first.
class Compensate final : public Disposition {
 public:
  bool settles() const override { return true; }
  int64_t n_settled(std::span<const float> state) const override { return state.empty() ? 0 : 1; }

  Result<ListContents> Cut(const CutInput& input, std::vector<float>* state) const override {
    std::vector<float> updated = *state;
    KVASIR_RETURN_IF_ERROR(Absorb(*input.list, input.evicted, &updated));
    KVASIR_ASSIGN_OR_RETURN(ListContents contents,
                            GatherKept(*input.list, input.kept, *input.arena));
    if (!updated.empty()) {
      const int d = input.list->tail().layout().head_dim;
      const float bias = std::log2(updated[0]);
      // f32: a mean of half-precision keys is none itself.
      KVASIR_ASSIGN_OR_RETURN(
          std::shared_ptr<const Segment> token,
          MakeDenseSegment({d, TileFormat::kF32, TileFormat::kF32}, *input.arena,
                           std::vector<int32_t>{0}, &updated[1], &updated[1 + d], {&bias, 1}));
      contents.sealed.insert(contents.sealed.begin(), std::move(token));
    }
    *state = std::move(updated);
    return contents;
  }

 private:
  static Status Absorb(const SegmentList& list, std::span<const int32_t> tokens,
                       std::vector<float>* state) {
    constexpr size_t kBlock = 256;
    for (size_t first = 0; first < tokens.size(); first += kBlock) {
      KVASIR_ASSIGN_OR_RETURN(
          TokenRows rows,
          ReadTokens(list, tokens.subspan(first, std::min(kBlock, tokens.size() - first))));
      const int d = rows.head_dim;
      state->resize(static_cast<size_t>(1 + 2 * d));
      float& count = state->front();
      for (int64_t i = 0; i < rows.n(); ++i) {
        count += static_cast<float>(rows.count[i]);
        const float share = static_cast<float>(rows.count[i]) / count;
        float* k = &(*state)[1];
        float* v = &(*state)[1 + d];
        for (int j = 0; j < d; ++j) {
          k[j] += (rows.key(i)[j] - k[j]) * share;
          v[j] += (rows.value(i)[j] - v[j]) * share;
        }
      }
    }
    return Status::Ok();
  }
};

}  // namespace

const PartInfo& disposition_compensate_part() {
  static constexpr PartInfo info = {
      .kind = PartKind::kDisposition,
      .name = "compensate",
      .summary = "one token stands for all that were dropped: mean key, mean value, log count",
      .card = "RazorAttention, arXiv:2407.15891",
      .params = {},
      .needs = kNeedKeys | kNeedValues,
      .cost = "2*d additions for each evicted token; one token a head",
      .make = MakePart<Compensate>};
  return info;
}

}  // namespace kvasir
