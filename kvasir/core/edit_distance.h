// How far apart two words are: for "did you mean".
#pragma once

#include <cstddef>
#include <string_view>

namespace kvasir {

// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`.
size_t EditDistance(std::string_view a, std::string_view b);

}  // namespace kvasir
