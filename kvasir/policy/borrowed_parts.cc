#include "kvasir/policy/borrowed_parts.h"

#include <fmt/format.h>

#include <algorithm>

#include "kvasir/codecs/registry.h"
#include "kvasir/policy/recipe_text.h"

namespace kvasir {
namespace {

// Selector arguments by name, in the order of the parameters, defaults left out.
PartCall SpellSelector(const PartCall& call) {
  const SelectorInfo& info = *FindSelector(call.name);
  std::vector<std::string> values(info.params.size());
  size_t next = 0;
  for (const auto& arg : call.args) {
    const auto& [name, value] = arg;
    const auto named = std::find_if(info.params.begin(), info.params.end(),
                                    [&](const SelectorParam& p) { return p.name == arg.first; });
    const auto i = name.empty() ? next++ : static_cast<size_t>(named - info.params.begin());
    if (i < values.size()) values[i] = value;
  }
  PartCall spelled = {call.name, {}};
  for (size_t i = 0; i < values.size(); ++i) {
    if (!values[i].empty() && values[i] != info.params[i].fallback) {
      spelled.args.emplace_back(info.params[i].name, values[i]);
    }
  }
  return spelled;
}

}  // namespace

std::vector<std::string_view> BorrowedNames(PartKind kind) {
  std::vector<std::string_view> names;
  if (kind == PartKind::kSelect) {
    for (const SelectorInfo* info : Selectors()) names.push_back(info->name);
  } else {
    for (const CodecEntry& entry : Codecs()) names.push_back(entry.info->name);
  }
  return names;
}

Result<PartCall> CanonicalBorrowed(PartKind kind, const PartCall& call) {
  const std::vector<std::string_view> names = BorrowedNames(kind);
  if (std::find(names.begin(), names.end(), call.name) == names.end()) {
    const std::string nearest = NearestName(call.name, names);
    return Status::NotFound(fmt::format("recipe: {} has no part '{}'{}", PartKindName(kind),
                                        call.name,
                                        nearest.empty() ? "" : "; did you mean " + nearest + "?"));
  }
  if (kind == PartKind::kSelect) {
    KVASIR_RETURN_IF_ERROR(CheckSelector(call.name, call.args));
    return SpellSelector(call);
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
