// Quantised weights in stripes: 16 rows side by side, so that a product streams through them.
//
// Every whole run of 16 rows takes the bytes that it had. In them, a field of a block that starts
// o bytes into a row starts 16 * o bytes into the run, and holds that field of the 16 rows, one
// after the other. Fields are dwords, and a lone f16 scale where the type has one. Rows that are
// left over at the end lie as before.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kvasir/kernels/tensor.h"

namespace kvasir {

inline constexpr int64_t kStripeRows = 16;

// Whether rows of this type can be striped: every quantised one.
bool HasStripes(TensorType type);
// Writes rows [begin, end) of `w`, which is not striped, to where they belong in `out`
// (w.rows * w.row_bytes). `begin` is a multiple of 16, `end` too unless it is w.rows.
void StripeRows(const Tensor& w, int64_t begin, int64_t end, std::byte* out);
// One row as it lies in a file, w.row_bytes, wherever it lies now.
void CopyRow(const Tensor& w, int64_t row, std::byte* out);

}  // namespace kvasir
