// Max over the query heads of a group: keeps what a single sharp head wants.
#include <algorithm>

#include "kvasir/policy/reduce/fold_rows.h"

namespace kvasir {
namespace {

class Max final : public GroupReducer {
 public:
  Status Reduce(LayerScores* scores) const override {
    for (HeadScores& head : *scores) {
      head = FoldRows(head, [](float a, float b) { return std::max(a, b); });
    }
    return Status::Ok();
  }
};

}  // namespace

const PartInfo& reduce_max_part() {
  static constexpr PartInfo info = {.kind = PartKind::kReduce,
                                    .name = "max",
                                    .summary = "the best query head of a group",
                                    .card = "",
                                    .params = {},
                                    .cost = "none",
                                    .make = MakePart<Max>};
  return info;
}

}  // namespace kvasir
