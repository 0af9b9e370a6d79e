// Columns of text, aligned.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace kvasir {

// The first `n_left` columns are aligned to the left, the others to the right; two spaces between
// columns. Widths count characters, not bytes. Rows may be shorter than the header.
std::string AlignColumns(const std::vector<std::vector<std::string>>& rows, size_t n_left);

// A quantity with `digits` significant digits: "0", "0.0123", "1.2e-05".
std::string ShowNumber(double value, int digits = 3);

}  // namespace kvasir
