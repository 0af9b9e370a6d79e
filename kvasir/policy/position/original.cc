// Kept keys keep the angle of their position in the text; holes stay holes.
#include "kvasir/policy/schedule.h"

namespace kvasir {
namespace {

class Original final : public PositionPolicy {};

}  // namespace

const PartInfo& position_original_part() {
  static constexpr PartInfo info = {.kind = PartKind::kPosition,
                                    .name = "original",
                                    .summary = "kept keys keep their positions",
                                    .card = "",
                                    .params = {},
                                    .cost = "none",
                                    .make = MakePart<Original>};
  return info;
}

}  // namespace kvasir
