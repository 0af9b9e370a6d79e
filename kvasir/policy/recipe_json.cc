#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "kvasir/policy/recipe.h"

namespace kvasir {
namespace {

using Json = nlohmann::ordered_json;

Status WrongType(std::string_view where, std::string_view expected, const Json& found) {
  return Status::InvalidArgument(
      fmt::format("recipe: {}: expected {}, found {}", where, expected, found.type_name()));
}

// "kind=part" or "kind=part,part".
Result<std::string> ItemText(const std::string& kind, const Json& value) {
  if (value.is_string()) return fmt::format("{}={}", kind, value.get_ref<const std::string&>());
  if (!value.is_array() || value.empty())
    return WrongType(kind, "a part or a list of parts", value);
  std::string text;
  for (const Json& part : value) {
    if (!part.is_string()) return WrongType(kind, "parts as text", part);
    text += text.empty() ? fmt::format("{}=", kind) : ",";
    text += part.get_ref<const std::string&>();
  }
  return text;
}

Result<Recipe> FromParts(const Json& parts) {
  if (!parts.is_object()) return WrongType("parts", "an object", parts);
  std::string text;
  for (const auto& [kind, value] : parts.items()) {
    KVASIR_ASSIGN_OR_RETURN(const std::string item, ItemText(kind, value));
    if (!text.empty()) text += ' ';
    text += item;
  }
  return text.empty() ? Result<Recipe>(Recipe()) : Recipe::Parse(text);
}

}  // namespace

Result<Recipe> Recipe::FromJson(const Json& json) {
  if (json.is_string()) return Parse(json.get_ref<const std::string&>());
  if (!json.is_object()) return WrongType("json", "text or an object", json);
  const auto text = json.find("recipe"), parts = json.find("parts");
  if (parts == json.end()) {
    if (text == json.end()) return WrongType("recipe", "text", Json());
    if (!text->is_string()) return WrongType("recipe", "text", *text);
    return Parse(text->get_ref<const std::string&>());
  }
  KVASIR_ASSIGN_OR_RETURN(Recipe recipe, FromParts(*parts));
  if (text == json.end()) return recipe;
  if (!text->is_string()) return WrongType("recipe", "text", *text);
  KVASIR_ASSIGN_OR_RETURN(const Recipe same, Parse(text->get_ref<const std::string&>()));
  if (same == recipe) return recipe;
  return Status::InvalidArgument(
      fmt::format("recipe: 'recipe' says {}, 'parts' says {}", same.ToString(), recipe.ToString()));
}

Json Recipe::ToJson() const {
  Json parts = Json::object();
  for (int i = 0; i < kPartKinds; ++i) {
    const auto kind = static_cast<PartKind>(i);
    const std::vector<PartCall>& calls = this->parts(kind);
    const std::string name(PartKindName(kind));
    if (calls.size() == 1) parts[name] = calls.front().ToString();
    if (calls.size() < 2) continue;
    for (const PartCall& call : calls) parts[name].push_back(call.ToString());
  }
  return {{"recipe", ToString()}, {"parts", std::move(parts)}};
}

}  // namespace kvasir
