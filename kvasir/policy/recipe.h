// Recipes: which parts keep, store and read a KV cache. A recipe is text such as
//
//   exact      q8_0      snapkv:1024+kivi:2      streaming(budget=512,sinks=8)
//   score=window(32) budget=pyramid:2048 keep=topk(pool=7) codec=kivi(k=2,v=2) select=quest(64)
//
//   recipe := item { ("+" | space) item }
//   item   := kind "=" part { "," part }      only protect takes more than one
//           | part                            a preset of recipes.def, or a part of any kind
//   part   := name [ ":" value | "(" [ arg { "," arg } ] ")" ]
//   arg    := value | name "=" value
//
// A kind that is set twice is refused, naming both. `codec=X` sets k=X and v=X. keep=R(pool=N)
// is short for shape=maxpool(N), budget=N for budget=uniform(N).
#pragma once

#include <array>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kvasir/policy/part.h"

namespace kvasir {

// A name with what was written behind it.
struct PartCall {
  std::string name;
  WrittenArgs args;

  bool operator==(const PartCall&) const = default;
  std::string ToString() const;  // "kivi(2,g=64)"
};

class Recipe {
 public:
  // Errors: kInvalidArgument for text that is not a recipe (with the byte), a kind set twice (both
  // parts), a parameter that does not exist or is out of range; kNotFound for a part that does not
  // exist, with the nearest name.
  static Result<Recipe> Parse(std::string_view text);
  // The same with the number formats of -ctk and -ctv added; f16 adds nothing.
  static Result<Recipe> ParseWithTypes(std::string_view text, std::string_view type_k,
                                       std::string_view type_v);
  // Rotates keys, or values, by a Hadamard matrix before they are coded: sets `had` of the part.
  // Errors: kInvalidArgument where the kind is not set, or its format has no such parameter.
  Status AddHadamard(PartKind kind, std::string_view source);
  // {"recipe": text, "parts": {kind: part}} or the text alone. Errors as Parse.
  static Result<Recipe> FromJson(const nlohmann::ordered_json& json);
  nlohmann::ordered_json ToJson() const;

  // Adds a part, on behalf of `source`, as it was written. Errors: kInvalidArgument when the kind
  // is set already (names both), or for the part's arguments.
  Status Add(PartKind kind, PartCall call, std::string_view source);
  // Adds all parts of another recipe.
  Status AddAll(const Recipe& other);

  // Empty = not set.
  const std::vector<PartCall>& parts(PartKind kind) const {
    return parts_[static_cast<size_t>(kind)];
  }
  bool has(PartKind kind) const { return !parts(kind).empty(); }
  // Whether no token is dropped, changed or left unread.
  bool is_empty() const;
  // Canonical text: kinds in their order, arguments by name, defaults left out. Parsing it gives an
  // equal recipe. "exact" when empty.
  std::string ToString() const;
  bool operator==(const Recipe& other) const { return parts_ == other.parts_; }

 private:
  std::array<std::vector<PartCall>, kPartKinds> parts_;
  std::array<std::string, kPartKinds> source_;  // as written, for messages
};

// A method under the name of its paper: a few lines in recipes/NAME.cc and a line in recipes.def.
struct PresetInfo {
  std::string_view name;
  std::string_view summary;
  std::string_view card;
  std::span<const ParamInfo> params;
  // Recipe text in which {name} stands for the value of the parameter `name`.
  std::string_view text;
};
std::span<const PresetInfo* const> Presets();
const PresetInfo* FindPreset(std::string_view name);

}  // namespace kvasir
