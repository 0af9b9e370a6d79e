// Kept keys are numbered by their places in the cache, so that distances never exceed what is held:
// a cache of bounded size reads a text of any length within the positions a model was trained for.
#include "kvasir/policy/schedule.h"

namespace kvasir {
namespace {

class Renumber final : public PositionPolicy {
 public:
  bool renumbers() const override { return true; }
};

}  // namespace

const PartInfo& position_renumber_part() {
  static constexpr PartInfo info = {
      .kind = PartKind::kPosition,
      .name = "renumber",
      .summary = "kept keys close ranks: they are turned to angles without holes",
      .card = "StreamingLLM, arXiv:2309.17453",
      .params = {},
      .cost = "one rotation of each kept key when it is read",
      .make = MakePart<Renumber>};
  return info;
}

}  // namespace kvasir
