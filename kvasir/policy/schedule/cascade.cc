// In the last chunk of the prompt, after each layer: earlier layers shrink as later ones take their
// share, so that not all layers are ever whole at once.
#include "kvasir/policy/schedule.h"

namespace kvasir {
namespace {

class Cascade final : public Schedule {
 public:
  bool each_layer() const override { return true; }
};

}  // namespace

const PartInfo& schedule_cascade_part() {
  static constexpr PartInfo info = {.kind = PartKind::kSchedule,
                                    .name = "cascade",
                                    .summary = "layer by layer while the last chunk is read",
                                    .card = "CAKE, arXiv:2503.12491",
                                    .params = {},
                                    .cost = "none",
                                    .make = MakePart<Cascade>};
  return info;
}

}  // namespace kvasir
