// Tables of non-uniform codes.
#pragma once

#include <span>
#include <vector>

namespace kvasir {

// The 2^bits values that represent N(0, 1) with least squared error, ascending; bits 1 to 4.
// Lloyd, IEEE Transactions on Information Theory 28 (1982); Max, IRE Transactions 6 (1960).
std::span<const float> NormalTable(int bits);

// 2^bits values in [-1, 1], ascending, that represent `x`, values in [-1, 1], with little squared
// error: Lloyd's iteration over a histogram, so the cost does not depend on how it converges.
std::vector<float> FitTable(std::span<const float> x, int bits);

}  // namespace kvasir
