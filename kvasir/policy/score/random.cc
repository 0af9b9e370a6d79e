// A fixed random number per (layer, kv head, position): the baseline every scorer must beat.
#include "kvasir/core/random.h"
#include "kvasir/policy/scorer.h"

namespace kvasir {
namespace {

class Random final : public Scorer {
 public:
  explicit Random(const PartArgs& args) : seed_(static_cast<uint64_t>(args.Int("seed"))) {}
  bool is_static() const override { return true; }
  Status Score(const ScoreContext& context, int kv_head, AttendScratch&,
               HeadScores* scores) const override {
    const uint64_t head = Mix64(seed_ << 32 ^ static_cast<uint64_t>(context.layer) << 16 ^
                              static_cast<uint64_t>(kv_head));
    const std::vector<int32_t> pos = context.list(kv_head).AllPositions();
    for (size_t i = 0; i < pos.size(); ++i) {
      const uint64_t bits = Mix64(head + 0x9e3779b97f4a7c15u * (static_cast<uint64_t>(pos[i]) + 1));
      scores->at[i] = static_cast<float>(bits >> 40) * 0x1p-24f;
    }
    return Status::Ok();
  }

 private:
  uint64_t seed_;
};

}  // namespace

const PartInfo& score_random_part() {
  static constexpr ParamInfo params[] = {
      {"seed", ParamType::kInt, "0", 0, 1e9, "which random numbers"},
  };
  static constexpr PartInfo info = {.kind = PartKind::kScore,
                                    .name = "random",
                                    .summary = "a random number per token",
                                    .card = "",
                                    .params = params,
                                    .cost = "none",
                                    .make = MakePart<Random>};
  return info;
}

}  // namespace kvasir
