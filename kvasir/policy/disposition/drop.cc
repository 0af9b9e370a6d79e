// Evicted tokens are gone.
#include "kvasir/policy/disposition.h"

namespace kvasir {
namespace {

class Drop final : public Disposition {
 public:
  Result<ListContents> Cut(const CutInput& input, std::vector<float>*) const override {
    return GatherKept(*input.list, input.kept, *input.arena);
  }
};

}  // namespace

const PartInfo& disposition_drop_part() {
  static constexpr PartInfo info = {.kind = PartKind::kDisposition,
                                    .name = "drop",
                                    .summary = "evicted tokens are gone",
                                    .card = "",
                                    .params = {},
                                    .cost = "one copy of what is kept",
                                    .make = MakePart<Drop>};
  return info;
}

}  // namespace kvasir
