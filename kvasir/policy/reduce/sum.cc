// Sum over the query heads of a group: ranks as the mean, for scores that are masses.
#include "kvasir/policy/reduce/fold_rows.h"

namespace kvasir {
namespace {

class Sum final : public GroupReducer {
 public:
  Status Reduce(LayerScores* scores) const override {
    for (HeadScores& head : *scores) {
      head = FoldRows(head, Add);
    }
    return Status::Ok();
  }
};

}  // namespace

const PartInfo& reduce_sum_part() {
  static constexpr PartInfo info = {.kind = PartKind::kReduce,
                                    .name = "sum",
                                    .summary = "sum over the query heads of a group",
                                    .card = "",
                                    .params = {},
                                    .cost = "none",
                                    .make = MakePart<Sum>};
  return info;
}

}  // namespace kvasir
