#include "kvasir/policy/recipe.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "kvasir/policy/borrowed_parts.h"
#include "kvasir/policy/recipe_text.h"

namespace kvasir {

#define KVASIR_RECIPE(name) const PresetInfo& name##_recipe();
#include "kvasir/policy/recipes.def"
#undef KVASIR_RECIPE

namespace {

// Sets `k` and `v` at once.
constexpr std::string_view kBothCodecs = "codec";

bool IsCodec(PartKind kind) { return kind == PartKind::kCodecK || kind == PartKind::kCodecV; }

bool HasName(const std::vector<std::string_view>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::optional<PartKind> FindKind(std::string_view name) {
  for (int i = 0; i < kPartKinds; ++i) {
    if (PartKindName(static_cast<PartKind>(i)) == name) return static_cast<PartKind>(i);
  }
  return std::nullopt;
}

std::string DidYouMean(std::string_view name, std::span<const std::string_view> names) {
  const std::string nearest = NearestName(name, names);
  return nearest.empty() ? "" : fmt::format("; did you mean {}?", nearest);
}

Status UnknownKind(std::string_view name) {
  std::vector<std::string_view> names = {kBothCodecs};
  for (int i = 0; i < kPartKinds; ++i) names.push_back(PartKindName(static_cast<PartKind>(i)));
  return Status::NotFound(
      fmt::format("recipe: no kind of part is called '{}'{}", name, DidYouMean(name, names)));
}

Status UnknownName(std::string_view name) {
  std::vector<std::string_view> names = BorrowedNames(PartKind::kCodecK);
  for (std::string_view selector : BorrowedNames(PartKind::kSelect)) names.push_back(selector);
  for (const PresetInfo* preset : Presets()) names.push_back(preset->name);
  for (const PartInfo* part : Parts()) names.push_back(part->name);
  return Status::NotFound(
      fmt::format("recipe: nothing is called '{}'{}", name, DidYouMean(name, names)));
}

Result<PartCall> Canonical(PartKind kind, const PartCall& call) {
  if (IsBorrowed(kind)) return CanonicalBorrowed(kind, call);
  const PartInfo* info = FindPart(kind, call.name);
  if (info == nullptr) {
    return Status::NotFound(fmt::format("recipe: {} has no part '{}'{}", PartKindName(kind),
                                        call.name, DidYouMean(call.name, PartNames(kind))));
  }
  KVASIR_ASSIGN_OR_RETURN(
      const PartArgs args,
      PartArgs::Make(fmt::format("{}={}", PartKindName(kind), call.name), info->params, call.args));
  return PartCall{call.name, args.Given()};
}

// keep=RULE(pool=N): takes the argument out of the call.
std::optional<PartCall> TakePool(PartCall* call) {
  for (auto arg = call->args.begin(); arg != call->args.end(); ++arg) {
    if (arg->first != "pool") continue;
    PartCall shape = {"maxpool", {{"size", arg->second}}};
    call->args.erase(arg);
    return shape;
  }
  return std::nullopt;
}

// Replaces {name} by the values of a preset's arguments.
Result<std::string> Expand(const PresetInfo& preset, const WrittenArgs& written) {
  KVASIR_ASSIGN_OR_RETURN(const PartArgs args, PartArgs::Make(preset.name, preset.params, written));
  std::string text(preset.text);
  for (const ParamInfo& param : preset.params) {
    const std::string hole = fmt::format("{{{}}}", param.name);
    for (size_t at; (at = text.find(hole)) != std::string::npos;) {
      text.replace(at, hole.size(), args.Text(param.name));
    }
  }
  return text;
}

Status AddNamed(const RecipeItem& item, Recipe* recipe) {
  for (PartCall call : item.calls) {
    std::vector<PartKind> kinds;
    if (item.kind == kBothCodecs) {
      kinds = {PartKind::kCodecK, PartKind::kCodecV};
    } else if (const auto kind = FindKind(item.kind)) {
      kinds = {*kind};
    } else {
      return UnknownKind(item.kind);
    }
    if (item.calls.size() > 1 && kinds.front() != PartKind::kProtect) {
      return Status::InvalidArgument(
          fmt::format("recipe: {} takes one part, found '{}'", item.kind, item.text));
    }
    if (kinds.front() == PartKind::kBudget && call.name.front() >= '0' &&
        call.name.front() <= '9') {
      call = {"uniform", {{"", call.name}}};
    }
    if (kinds.front() == PartKind::kKeep) {
      if (std::optional<PartCall> shape = TakePool(&call)) {
        KVASIR_RETURN_IF_ERROR(recipe->Add(PartKind::kShape, std::move(*shape), item.text));
      }
    }
    for (PartKind kind : kinds) KVASIR_RETURN_IF_ERROR(recipe->Add(kind, call, item.text));
  }
  return Status::Ok();
}

// A name without its kind: a preset, a codec, a selector, or the part of that name if there is one
// only.
Status AddBare(const RecipeItem& item, int depth, Recipe* recipe);

Status AddText(std::string_view text, int depth, std::string_view source, Recipe* recipe) {
  KVASIR_ASSIGN_OR_RETURN(std::vector<RecipeItem> items, SplitRecipe(text));
  for (RecipeItem& item : items) {
    if (!source.empty()) item.text = source;
    KVASIR_RETURN_IF_ERROR(item.kind.empty() ? AddBare(item, depth, recipe)
                                             : AddNamed(item, recipe));
  }
  return Status::Ok();
}

Status AddBare(const RecipeItem& item, int depth, Recipe* recipe) {
  constexpr int kMaxDepth = 4;  // of presets made of presets
  const PartCall& call = item.calls.front();
  if (const PresetInfo* preset = FindPreset(call.name)) {
    if (depth == kMaxDepth) {
      return Status::InvalidArgument(fmt::format("recipe: {} expands too deep", call.name));
    }
    KVASIR_ASSIGN_OR_RETURN(const std::string text, Expand(*preset, call.args));
    return text.empty() ? Status::Ok() : AddText(text, depth + 1, item.text, recipe);
  }
  if (HasName(BorrowedNames(PartKind::kCodecK), call.name)) {
    KVASIR_RETURN_IF_ERROR(recipe->Add(PartKind::kCodecK, call, item.text));
    return recipe->Add(PartKind::kCodecV, call, item.text);
  }
  if (HasName(BorrowedNames(PartKind::kSelect), call.name)) {
    return recipe->Add(PartKind::kSelect, call, item.text);
  }
  std::vector<const PartInfo*> found;
  for (const PartInfo* part : Parts()) {
    if (part->name == call.name) found.push_back(part);
  }
  if (found.size() == 1) return recipe->Add(found.front()->kind, call, item.text);
  if (found.empty()) return UnknownName(call.name);
  std::string choices;
  for (const PartInfo* part : found) {
    choices +=
        fmt::format("{}{}={}", choices.empty() ? "" : " or ", PartKindName(part->kind), part->name);
  }
  return Status::InvalidArgument(
      fmt::format("recipe: '{}' may be several parts; write {}", call.name, choices));
}

}  // namespace

std::span<const PresetInfo* const> Presets() {
  static const PresetInfo* const kPresets[] = {
#define KVASIR_RECIPE(name) &name##_recipe(),
#include "kvasir/policy/recipes.def"
#undef KVASIR_RECIPE
  };
  return kPresets;
}

const PresetInfo* FindPreset(std::string_view name) {
  for (const PresetInfo* preset : Presets()) {
    if (preset->name == name) return preset;
  }
  return nullptr;
}

std::string PartCall::ToString() const {
  std::string inside;
  for (const auto& [arg, value] : args) {
    if (!inside.empty()) inside += ',';
    inside += arg.empty() ? value : fmt::format("{}={}", arg, value);
  }
  return inside.empty() ? name : fmt::format("{}({})", name, inside);
}

Result<Recipe> Recipe::ParseWithTypes(std::string_view text, std::string_view type_k,
                                      std::string_view type_v) {
  KVASIR_ASSIGN_OR_RETURN(Recipe recipe, Parse(text));
  for (const auto& [kind, type] : {std::pair{"k=", type_k}, std::pair{"v=", type_v}}) {
    if (type == "f16") continue;
    KVASIR_ASSIGN_OR_RETURN(const Recipe codec, Parse(kind + std::string(type)));
    KVASIR_RETURN_IF_ERROR(recipe.AddAll(codec));
  }
  return recipe;
}

Status Recipe::AddHadamard(PartKind kind, std::string_view source) {
  std::vector<PartCall>& calls = parts_[static_cast<size_t>(kind)];
  if (calls.empty()) {
    return Status::InvalidArgument(
        fmt::format("{}: expected a number format to rotate, such as q8_0; found floats, which "
                    "gain nothing by it",
                    source));
  }
  PartCall call = calls.front();
  const std::pair<std::string, std::string> rotated("", "had");
  std::erase(call.args, rotated);
  call.args.push_back(rotated);
  std::vector<PartCall> before = std::move(calls);
  calls.clear();
  Status status = Add(kind, std::move(call), source);
  if (status.ok()) return status;
  calls = std::move(before);
  return std::move(status).WithContext(fmt::format("{} with {}", source, calls.front().ToString()));
}

Result<Recipe> Recipe::Parse(std::string_view text) {
  Recipe recipe;
  KVASIR_RETURN_IF_ERROR(AddText(text, 0, {}, &recipe));
  return recipe;
}

Status Recipe::Add(PartKind kind, PartCall call, std::string_view source) {
  const auto at = static_cast<size_t>(kind);
  KVASIR_ASSIGN_OR_RETURN(call, Canonical(kind, call));
  const bool same_item = kind == PartKind::kProtect && source_[at] == source;
  if (has(kind) && !same_item) {
    return Status::InvalidArgument(fmt::format("recipe: {} is set twice, by '{}' and by '{}'",
                                               PartKindName(kind), source_[at], source));
  }
  source_[at] = source;
  parts_[at].push_back(std::move(call));
  return Status::Ok();
}

Status Recipe::AddAll(const Recipe& other) {
  for (int i = 0; i < kPartKinds; ++i) {
    for (const PartCall& call : other.parts_[i]) {
      KVASIR_RETURN_IF_ERROR(Add(static_cast<PartKind>(i), call, other.source_[i]));
    }
  }
  return Status::Ok();
}

bool Recipe::is_empty() const {
  return std::all_of(parts_.begin(), parts_.end(), [](const auto& calls) { return calls.empty(); });
}

std::string Recipe::ToString() const {
  std::string text;
  const auto add = [&](std::string_view kind, const std::vector<PartCall>& calls) {
    if (calls.empty()) return;
    if (!text.empty()) text += ' ';
    text += fmt::format("{}=", kind);
    for (size_t i = 0; i < calls.size(); ++i) {
      if (i > 0) text += ',';
      text += calls[i].ToString();
    }
  };
  const bool one_codec = parts(PartKind::kCodecK) == parts(PartKind::kCodecV);
  for (int i = 0; i < kPartKinds; ++i) {
    const auto kind = static_cast<PartKind>(i);
    if (!IsCodec(kind) || !one_codec) {
      add(PartKindName(kind), parts(kind));
    } else if (kind == PartKind::kCodecK) {
      add(kBothCodecs, parts(kind));
    }
  }
  return text.empty() ? "exact" : text;
}

}  // namespace kvasir
