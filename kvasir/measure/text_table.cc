#include "kvasir/measure/text_table.h"

#include <fmt/format.h>

#include <algorithm>

namespace kvasir {
namespace {

// Characters of UTF-8: every byte that does not continue one.
size_t WidthOf(std::string_view text) {
  return static_cast<size_t>(
      std::ranges::count_if(text, [](char c) { return (static_cast<uint8_t>(c) & 0xc0) != 0x80; }));
}

}  // namespace

std::string AlignColumns(const std::vector<std::vector<std::string>>& rows, size_t n_left) {
  std::vector<size_t> width;
  for (const auto& row : rows) {
    width.resize(std::max(width.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) width[i] = std::max(width[i], WidthOf(row[i]));
  }
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string pad(width[i] - WidthOf(row[i]), ' ');
      if (i > 0) line += "  ";
      line += i < n_left ? row[i] + pad : pad + row[i];
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + '\n';
  }
  return text;
}

std::string ShowNumber(double value, int digits) { return fmt::format("{:.{}g}", value, digits); }

}  // namespace kvasir
