// The newest tokens, as a share of the sequence: RazorAttention's max(S0, N / C).
#include <algorithm>

#include "kvasir/policy/keep.h"

namespace kvasir {
namespace {

class Share final : public Protector {
 public:
  explicit Share(const PartArgs& args)
      : least_(args.Int("least")), share_(args.Real("percent") / 100) {}
  int64_t max_tokens() const override { return -1; }
  void Mark(const ProtectInput& input, std::span<uint8_t> flags) const override {
    const int64_t n = std::max(least_, static_cast<int64_t>(share_ * input.n_pos));
    for (size_t i = 0; i < flags.size(); ++i) {
      if (input.pos[i] >= input.n_pos - n) flags[i] = 1;
    }
  }

 private:
  int64_t least_;
  double share_;
};

}  // namespace

const PartInfo& protect_share_part() {
  static constexpr ParamInfo params[] = {
      {"least", ParamType::kInt, "4000", 0, 1e6, "tokens at least"},
      {"percent", ParamType::kReal, "20", 0, 100, "of the tokens seen"},
  };
  static constexpr PartInfo info = {.kind = PartKind::kProtect,
                                    .name = "share",
                                    .summary = "the newest tokens, a share of all seen",
                                    .card = "RazorAttention, arXiv:2407.15891",
                                    .params = params,
                                    .cost = "none",
                                    .make = MakePart<Share>};
  return info;
}

}  // namespace kvasir
