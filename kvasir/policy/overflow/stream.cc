// When bytes run out, the oldest third goes; the first tokens stay.
#include <algorithm>

#include "kvasir/policy/overflow.h"

namespace kvasir {
namespace {

class Stream final : public OverflowRule {
 public:
  explicit Stream(const PartArgs& args) : sinks_(args.Int("sinks")) {}
  Status Choose(const SegmentList& list, std::vector<int32_t>* kept) const override {
    const int64_t n = list.n_kv(), n_keep = AfterMakingRoom(n);
    const int64_t sinks = std::min(sinks_, n_keep);
    for (int64_t i = 0; i < sinks; ++i) kept->push_back(static_cast<int32_t>(i));
    for (int64_t i = n - (n_keep - sinks); i < n; ++i) kept->push_back(static_cast<int32_t>(i));
    return Status::Ok();
  }

 private:
  int64_t sinks_;
};

}  // namespace

const PartInfo& overflow_stream_part() {
  static constexpr ParamInfo params[] = {
      {"sinks", ParamType::kInt, "4", 0, 1e6, "first tokens that stay"},
  };
  static constexpr PartInfo info = {.kind = PartKind::kOverflow,
                                    .name = "stream",
                                    .summary = "when bytes run out, the oldest third goes",
                                    .card = "StreamingLLM, arXiv:2309.17453",
                                    .params = params,
                                    .cost = "one copy of what stays",
                                    .make = MakePart<Stream>};
  return info;
}

}  // namespace kvasir
