// When bytes or positions run out, the oldest whole turns of the conversation go; what stands
// before the first turn, such as the system prompt, and the newest turn stay.
#include "kvasir/policy/overflow.h"

namespace kvasir {
namespace {

class DropTurns final : public OverflowRule {
 public:
  bool drops_turns() const override { return true; }
  Status Choose(const SegmentList&, std::vector<int32_t>*) const override {
    return Status::OutOfMemory("overflow=drop-turns: turns are known to conversations alone");
  }
};

}  // namespace

const PartInfo& overflow_drop_turns_part() {
  static constexpr PartInfo info = {
      .kind = PartKind::kOverflow,
      .name = "drop-turns",
      .summary = "when bytes or positions run out, the oldest turns of the conversation go",
      .card = "",
      .params = {},
      .cost = "one copy of what stays",
      .make = MakePart<DropTurns>};
  return info;
}

}  // namespace kvasir
