// The newest tokens.
#include "kvasir/policy/keep.h"

namespace kvasir {
namespace {

class Recent final : public Protector {
 public:
  explicit Recent(const PartArgs& args) : n_(args.Int("n")) {}
  int64_t max_tokens() const override { return n_; }
  bool is_recent() const override { return true; }
  void Mark(const ProtectInput& input, std::span<uint8_t> flags) const override {
    for (size_t i = 0; i < flags.size(); ++i) {
      if (input.pos[i] >= input.n_pos - n_) flags[i] = 1;
    }
  }

 private:
  int64_t n_;
};

}  // namespace

const PartInfo& protect_recent_part() {
  static constexpr ParamInfo params[] = {
      {"n", ParamType::kInt, "64", 0, 1e6, "tokens"},
  };
  static constexpr PartInfo info = {.kind = PartKind::kProtect,
                                    .name = "recent",
                                    .summary = "the newest tokens",
                                    .card = "",
                                    .params = params,
                                    .cost = "none",
                                    .make = MakePart<Recent>};
  return info;
}

}  // namespace kvasir
