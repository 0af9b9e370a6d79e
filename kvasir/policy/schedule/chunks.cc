// After every chunk of the prompt, so that no more than the budget and one chunk is ever held, and
// every so many generated tokens.
#include "kvasir/policy/schedule.h"

namespace kvasir {
namespace {

class EachChunk final : public Schedule {
 public:
  explicit EachChunk(const PartArgs& args) : every_(static_cast<int>(args.Int("every"))) {}
  bool each_chunk() const override { return true; }
  int decode_every() const override { return every_; }

 private:
  int every_;
};

}  // namespace

const PartInfo& schedule_chunks_part() {
  static constexpr ParamInfo params[] = {
      {"every", ParamType::kInt, "16", 0, 65536, "generated tokens between cuts; 0 = none"},
  };
  static constexpr PartInfo info = {
      .kind = PartKind::kSchedule,
      .name = "chunks",
      .summary = "after every chunk of the prompt: a hard cap on what is held",
      .card = "KeyDiff, arXiv:2504.15364",
      .params = params,
      .cost = "none",
      .make = MakePart<EachChunk>};
  return info;
}

}  // namespace kvasir
