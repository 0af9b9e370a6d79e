// Mean over the query heads of a group: dilutes a single sharp head.
#include "kvasir/policy/reduce/fold_rows.h"

namespace kvasir {
namespace {

class Mean final : public GroupReducer {
 public:
  Status Reduce(LayerScores* scores) const override {
    for (HeadScores& head : *scores) {
      const auto n_row = static_cast<float>(head.n_row);
      head = FoldRows(head, Add);
      for (float& x : head.at) x /= n_row;
    }
    return Status::Ok();
  }
};

}  // namespace

const PartInfo& reduce_mean_part() {
  static constexpr PartInfo info = {.kind = PartKind::kReduce,
                                    .name = "mean",
                                    .summary = "mean over the query heads of a group",
                                    .card = "",
                                    .params = {},
                                    .cost = "none",
                                    .make = MakePart<Mean>};
  return info;
}

}  // namespace kvasir
