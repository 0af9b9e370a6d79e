// What does not fit is refused.
#include "kvasir/policy/overflow.h"

namespace kvasir {
namespace {

class Error final : public OverflowRule {
 public:
  explicit Error(const PartArgs&) {}
  bool makes_room() const override { return false; }
  Status Choose(const SegmentList&, std::vector<int32_t>*) const override {
    return Status::OutOfMemory("the recipe's overflow rule is to refuse");
  }
};

}  // namespace

const PartInfo& overflow_error_part() {
  static constexpr PartInfo info = {.kind = PartKind::kOverflow,
                                    .name = "error",
                                    .summary = "what passes --mem is refused, with both numbers",
                                    .card = "",
                                    .params = {},
                                    .cost = "none",
                                    .make = MakePart<Error>};
  return info;
}

}  // namespace kvasir
