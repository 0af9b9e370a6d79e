// Lists in messages. (fmt::join formats through a parser that g++ 12 warns about at -O3.)
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>

namespace kvasir {

// "a, b, c".
template <typename Range>
std::string Join(const Range& items, std::string_view separator = ", ") {
  std::string out;
  std::string_view before;
  for (const auto& item : items) {
    out += before;
    out += fmt::to_string(item);
    before = separator;
  }
  return out;
}

}  // namespace kvasir
