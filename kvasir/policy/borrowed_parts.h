// Parts of the kinds k, v and select: the tables of codecs and of selectors, in recipes.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "kvasir/codecs/codec.h"
#include "kvasir/policy/recipe.h"
#include "kvasir/policy/selectors/registry.h"

namespace kvasir {

// Whether parts of this kind are listed elsewhere than in parts.def.
constexpr bool IsBorrowed(PartKind kind) {
  return kind == PartKind::kCodecK || kind == PartKind::kCodecV || kind == PartKind::kSelect;
}
std::vector<std::string_view> BorrowedNames(PartKind kind);
// The call as its table spells it. Errors: kNotFound with the nearest name; kInvalidArgument for
// its arguments.
Result<PartCall> CanonicalBorrowed(PartKind kind, const PartCall& call);

// A number format for one side.
struct CodecChoice {
  TileFormat dense = TileFormat::kF16;   // of the tail
  std::shared_ptr<const KvCodec> codec;  // null where the dense tail is all there is
};
Result<CodecChoice> MakeCodecChoice(const PartCall& call);

}  // namespace kvasir
