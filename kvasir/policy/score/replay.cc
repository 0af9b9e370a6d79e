// The prompt is read a second time: a token is worth the largest weight that any query of the
// second reading pays to it.
#include <algorithm>

#include "kvasir/policy/replay_tap.h"
#include "kvasir/policy/scorer.h"

namespace kvasir {
namespace {

class Replay final : public Scorer {
 public:
  Status Score(const ScoreContext& context, int kv_head, AttendScratch&,
               HeadScores* scores) const override {
    const std::span<const float> max = context.replay->max(context.layer, kv_head);
    std::copy_n(max.begin(), std::min(max.size(), scores->at.size()), scores->at.begin());
    return Status::Ok();
  }
};

}  // namespace

const PartInfo& score_replay_part() {
  static constexpr PartInfo info = {
      .kind = PartKind::kScore,
      .name = "replay",
      .summary = "the most attention that a second reading of the prompt pays to a token",
      .card = "KVzip, arXiv:2505.23416",
      .params = {},
      .needs = kNeedReplay,
      .cost = "the prompt is computed twice",
      .make = MakePart<Replay>};
  return info;
}

}  // namespace kvasir
