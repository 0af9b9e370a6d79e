// The codec registry as recipe parts of the kinds k and v.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "kvasir/codecs/codec.h"
#include "kvasir/policy/recipe.h"

namespace kvasir {

std::vector<std::string_view> CodecNames();
// The call as its codec spells it. Errors: kNotFound with the nearest name; kInvalidArgument for
// its arguments.
Result<PartCall> CanonicalCodec(const PartCall& call);

// A number format for one side.
struct CodecChoice {
  TileFormat dense = TileFormat::kF16;   // of the tail
  std::shared_ptr<const KvCodec> codec;  // null where the dense tail is all there is
};
Result<CodecChoice> MakeCodecChoice(const PartCall& call);

}  // namespace kvasir
