#include "kvasir/codecs/kept_traits.h"

#include "kvasir/codecs/reposition.h"

namespace kvasir {

std::shared_ptr<const HeadTraits> KeptTraits(const SegmentList& list, KvSide side) {
  for (const auto& segment : list.sealed()) {
    const Segment* stored = &WholeOf(*segment);
    const auto* turned = dynamic_cast<const TurnedSegment*>(stored);
    if (turned != nullptr) stored = &WholeOf(*turned->stored());
    const auto* coded = dynamic_cast<const CodedSegment*>(stored);
    if (coded == nullptr) continue;
    auto traits = (side == KvSide::kKey ? coded->k() : coded->v())->traits();
    if (traits != nullptr) return traits;
  }
  return nullptr;
}

}  // namespace kvasir
