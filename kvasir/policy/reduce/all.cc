// Mean over all heads of the layer: every kv head keeps the same tokens.
#include <fmt/format.h>

#include "kvasir/policy/reduce/fold_rows.h"

namespace kvasir {
namespace {

class AllHeads final : public GroupReducer {
 public:
  bool joins_heads() const override { return true; }
  Status Reduce(LayerScores* scores) const override {
    HeadScores total;
    float n_row = 0;
    for (const HeadScores& head : *scores) {
      if (head.n == 0) continue;
      if (total.n > 0 && head.n != total.n) {
        return Status::InvalidArgument(fmt::format(
            "reduce=all: kv heads of a layer must hold equally many tokens, found {} and {}",
            total.n, head.n));
      }
      n_row += static_cast<float>(head.n_row);
      HeadScores sum = FoldRows(head, Add);
      if (total.n > 0) {
        for (int64_t t = 0; t < sum.n; ++t) sum.at[t] += total.at[t];
      }
      total = std::move(sum);
    }
    for (float& x : total.at) x /= n_row;
    for (HeadScores& head : *scores) {
      if (head.n > 0) head = total;
    }
    return Status::Ok();
  }
};

}  // namespace

const PartInfo& reduce_all_part() {
  static constexpr PartInfo info = {
      .kind = PartKind::kReduce,
      .name = "all",
      .summary = "mean over all heads of the layer: one set of tokens",
      .card = "TOVA, arXiv:2401.06104",
      .params = {},
      .cost = "none",
      .make = MakePart<AllHeads>};
  return info;
}

}  // namespace kvasir
