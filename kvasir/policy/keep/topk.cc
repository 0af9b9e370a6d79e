// Each head keeps its own best tokens.
#include "kvasir/policy/keep.h"

namespace kvasir {
namespace {

class TopK final : public KeepRule {
 public:
  std::vector<std::vector<int32_t>> Select(std::span<const KeepCell> cells) const override {
    std::vector<std::vector<int32_t>> kept;
    for (const KeepCell& cell : cells) kept.push_back(KeepBest(cell));
    return kept;
  }
};

}  // namespace

const PartInfo& keep_topk_part() {
  static constexpr PartInfo info = {.kind = PartKind::kKeep,
                                    .name = "topk",
                                    .summary = "each head keeps its best",
                                    .card = "",
                                    .params = {},
                                    .cost = "one selection a head",
                                    .make = MakePart<TopK>};
  return info;
}

}  // namespace kvasir
