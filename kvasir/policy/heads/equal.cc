// Every head is scored.
#include "kvasir/policy/budget.h"

namespace kvasir {
namespace {

class Equal final : public HeadClassifier {
 public:
  Result<std::vector<HeadRole>> Roles(const CacheShape& shape, const HeadTable*) const override {
    return std::vector<HeadRole>(static_cast<size_t>(shape.n_layer) * shape.n_kv_head,
                                 HeadRole::kScored);
  }
};

}  // namespace

const PartInfo& heads_equal_part() {
  static constexpr PartInfo info = {.kind = PartKind::kHeads,
                                    .name = "equal",
                                    .summary = "every head is scored",
                                    .card = "",
                                    .params = {},
                                    .cost = "none",
                                    .make = MakePart<Equal>};
  return info;
}

}  // namespace kvasir
