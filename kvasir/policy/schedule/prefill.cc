// Once, when the prompt has been read; generated tokens are never evicted.
#include "kvasir/policy/schedule.h"

namespace kvasir {
namespace {

class Prefill final : public Schedule {};

}  // namespace

const PartInfo& schedule_prefill_part() {
  static constexpr PartInfo info = {.kind = PartKind::kSchedule,
                                    .name = "prefill",
                                    .summary = "once, at the end of the prompt",
                                    .card = "",
                                    .params = {},
                                    .cost = "none",
                                    .make = MakePart<Prefill>};
  return info;
}

}  // namespace kvasir
