// At the end of the prompt, then every so many generated tokens.
#include "kvasir/policy/schedule.h"

namespace kvasir {
namespace {

class Steps final : public Schedule {
 public:
  explicit Steps(const PartArgs& args) : every_(static_cast<int>(args.Int("every"))) {}
  int decode_every() const override { return every_; }

 private:
  int every_;
};

}  // namespace

const PartInfo& schedule_steps_part() {
  static constexpr ParamInfo params[] = {
      {"every", ParamType::kInt, "16", 1, 65536,
       "generated tokens between cuts: slack above the budget"},
  };
  static constexpr PartInfo info = {
      .kind = PartKind::kSchedule,
      .name = "steps",
      .summary = "at the end of the prompt and every few generated tokens",
      .card = "H2O, arXiv:2306.14048",
      .params = params,
      .cost = "none",
      .make = MakePart<Steps>};
  return info;
}

}  // namespace kvasir
