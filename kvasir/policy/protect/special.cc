// Control tokens of the vocabulary: the frame of a conversation.
#include "kvasir/policy/keep.h"

namespace kvasir {
namespace {

class Special final : public Protector {
 public:
  int64_t max_tokens() const override { return -1; }
  void Mark(const ProtectInput& input, std::span<uint8_t> flags) const override {
    for (size_t i = 0; i < flags.size(); ++i) {
      const auto pos = static_cast<size_t>(input.pos[i]);
      if (pos < input.tokens.size() && (*input.is_special)(input.tokens[pos])) flags[i] = 1;
    }
  }
};

}  // namespace

const PartInfo& protect_special_part() {
  static constexpr PartInfo info = {.kind = PartKind::kProtect,
                                    .name = "special",
                                    .summary = "control tokens of the vocabulary",
                                    .card = "",
                                    .params = {},
                                    .needs = kNeedTokens,
                                    .cost = "none",
                                    .make = MakePart<Special>};
  return info;
}

}  // namespace kvasir
