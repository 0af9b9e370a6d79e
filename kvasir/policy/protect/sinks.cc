// The first tokens of the sequence, which absorb attention that has nowhere to go.
#include "kvasir/policy/keep.h"

namespace kvasir {
namespace {

class Sinks final : public Protector {
 public:
  explicit Sinks(const PartArgs& args) : n_(args.Int("n")) {}
  int64_t max_tokens() const override { return n_; }
  void Mark(const ProtectInput& input, std::span<uint8_t> flags) const override {
    for (size_t i = 0; i < flags.size(); ++i) {
      if (input.pos[i] < n_) flags[i] = 1;
    }
  }

 private:
  int64_t n_;
};

}  // namespace

const PartInfo& protect_sinks_part() {
  static constexpr ParamInfo params[] = {
      {"n", ParamType::kInt, "4", 0, 1e6, "tokens"},
  };
  static constexpr PartInfo info = {.kind = PartKind::kProtect,
                                    .name = "sinks",
                                    .summary = "the first tokens",
                                    .card = "StreamingLLM, arXiv:2309.17453",
                                    .params = params,
                                    .cost = "none",
                                    .make = MakePart<Sinks>};
  return info;
}

}  // namespace kvasir
