// Newer is better: with protected sinks, the window of StreamingLLM.
#include "kvasir/policy/scorer.h"

namespace kvasir {
namespace {

class Recency final : public Scorer {
 public:
  bool is_static() const override { return true; }
  Status Score(const ScoreContext& context, int kv_head, AttendScratch&,
               HeadScores* scores) const override {
    const std::vector<int32_t> pos = context.list(kv_head).AllPositions();
    for (size_t i = 0; i < pos.size(); ++i) scores->at[i] = static_cast<float>(pos[i]);
    return Status::Ok();
  }
};

}  // namespace

const PartInfo& score_recency_part() {
  static constexpr PartInfo info = {.kind = PartKind::kScore,
                                    .name = "recency",
                                    .summary = "the newer the better",
                                    .card = "StreamingLLM, arXiv:2309.17453",
                                    .params = {},
                                    .cost = "none",
                                    .make = MakePart<Recency>};
  return info;
}

}  // namespace kvasir
