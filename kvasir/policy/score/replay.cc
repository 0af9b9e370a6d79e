// The prompt is read a second time, part by part: a token is worth the largest weight that any
// query pays to it while its part is repeated.
#include <algorithm>

#include "kvasir/policy/replay_tap.h"
#include "kvasir/policy/scorer.h"

namespace kvasir {
namespace {

class Replay final : public Scorer {
 public:
  explicit Replay(const PartArgs& args) : part_(args.Int("part")) {}
  int64_t replay_part() const override { return part_; }
  bool is_share() const override { return true; }
  Status Score(const ScoreContext& context, int kv_head, AttendScratch&,
               HeadScores* scores) const override {
    const std::span<const float> max = context.replay->max(context.layer, kv_head);
    std::copy_n(max.begin(), std::min(max.size(), scores->at.size()), scores->at.begin());
    return Status::Ok();
  }

 private:
  int64_t part_;
};

}  // namespace

const PartInfo& score_replay_part() {
  static constexpr ParamInfo params[] = {
      {"part", ParamType::kInt, "2048", 64, 65536, "tokens of the prompt read again at a time"},
  };
  static constexpr PartInfo info = {
      .kind = PartKind::kScore,
      .name = "replay",
      .summary = "the most attention that a second reading of the prompt pays to a token",
      .card = "KVzip, arXiv:2505.23416",
      .params = params,
      .needs = kNeedReplay,
      .cost = "the prompt is computed twice",
      .make = MakePart<Replay>};
  return info;
}

}  // namespace kvasir
