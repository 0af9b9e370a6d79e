// The grammar of recipe.h, and nothing of what names mean.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "kvasir/policy/recipe.h"

namespace kvasir {

struct RecipeItem {
  std::string kind;  // "" where only a name was written
  std::vector<PartCall> calls;
  std::string text;  // as written
};

// Errors: kInvalidArgument names the byte.
Result<std::vector<RecipeItem>> SplitRecipe(std::string_view text);

}  // namespace kvasir
