#include "kvasir/policy/codec_parts.h"

#include <fmt/format.h>

#include "kvasir/codecs/registry.h"
#include "kvasir/policy/recipe_text.h"

namespace kvasir {

std::vector<std::string_view> CodecNames() {
  std::vector<std::string_view> names;
  for (const CodecEntry& entry : Codecs()) names.push_back(entry.info->name);
  return names;
}

Result<PartCall> CanonicalCodec(const PartCall& call) {
  if (FindCodec(call.name) == nullptr) {
    const std::string nearest = NearestName(call.name, CodecNames());
    return Status::NotFound(fmt::format("recipe: no codec is called '{}'{}", call.name,
                                        nearest.empty() ? "" : "; did you mean " + nearest + "?"));
  }
  KVASIR_ASSIGN_OR_RETURN(const auto codec, MakeCodec(call.name, call.args));
  KVASIR_ASSIGN_OR_RETURN(std::vector<RecipeItem> items, SplitRecipe(codec->name()));
  return std::move(items.front().calls.front());
}

Result<CodecChoice> MakeCodecChoice(const PartCall& call) {
  if (call.args.empty() && call.name == "f16") return CodecChoice{TileFormat::kF16, nullptr};
  if (call.args.empty() && call.name == "f32") return CodecChoice{TileFormat::kF32, nullptr};
  KVASIR_ASSIGN_OR_RETURN(auto codec, MakeCodec(call.name, call.args));
  return CodecChoice{TileFormat::kF16, std::move(codec)};
}

}  // namespace kvasir
