// Recipe text: whatever parses prints, and what it prints parses to the same recipe.
#include <cstdlib>
#include <string_view>

#include "kvasir/policy/recipe.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto recipe =
      kvasir::Recipe::Parse(std::string_view(reinterpret_cast<const char*>(data), size));
  if (!recipe.ok()) return 0;
  const auto again = kvasir::Recipe::Parse(recipe->ToString());
  if (!again.ok() || !(*again == *recipe)) std::abort();
  return 0;
}
