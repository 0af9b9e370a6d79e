// A-shape: a prompt reads its first tokens and those in front of it, as streaming does in decode.
#include <algorithm>

#include "kvasir/policy/prefill_rule.h"

namespace kvasir {
namespace {

class AShape final : public PrefillRule {
 public:
  explicit AShape(const PartArgs& args)
      : sinks_(args.AmountOf("sinks")), recent_(args.AmountOf("recent")) {}

  int unit_tokens() const override { return kTileTokens; }
  int64_t RoomBytes(const PrefillSize&) const override { return 0; }

  // The window is that of the block's first query: later ones see no further back.
  Status Choose(const PrefillQueries& queries, const SegmentList&, AttendScratch&, PrefillRoom,
                std::span<uint8_t> chosen) const override {
    const int64_t n_unit = queries.n_before / kTileTokens;
    const int64_t sinks = (sinks_.Of(queries.index) + kTileTokens - 1) / kTileTokens;
    const int64_t from =
        std::max<int64_t>(0, queries.index - recent_.Of(queries.index)) / kTileTokens;
    for (int head = 0; head < queries.n_head; ++head) {
      const auto marks = chosen.begin() + head * n_unit;
      std::fill(marks, marks + std::min(sinks, n_unit), uint8_t{1});
      std::fill(marks + std::min(from, n_unit), marks + n_unit, uint8_t{1});
    }
    return Status::Ok();
  }

 private:
  Amount sinks_, recent_;
};

}  // namespace

const PartInfo& prefill_ashape_part() {
  static constexpr ParamInfo params[] = {
      {"sinks", ParamType::kAmount, "128", 0, 1e9, "first tokens that every block reads"},
      {"recent", ParamType::kAmount, "8192", 0, 1e9, "tokens in front of a block that it reads"},
  };
  static constexpr PartInfo info = {
      .kind = PartKind::kPrefill,
      .name = "ashape",
      .summary = "the first tokens, and those in front of the block",
      .card = "StreamingLLM, arXiv:2309.17453; LServe, arXiv:2502.14866",
      .params = params,
      .cost = "none",
      .make = MakePart<AShape>};
  return info;
}

}  // namespace kvasir
