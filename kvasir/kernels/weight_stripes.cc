#include "kvasir/kernels/weight_stripes.h"

#include <cassert>
#include <cstring>
#include <type_traits>

namespace kvasir {
namespace {

// Bytes of a block before its f16 scale that stands alone; the block's length where none does.
size_t LoneScaleAt(TensorType type) {
  switch (type) {
    case TensorType::kQ4_0:
    case TensorType::kQ5_0:
    case TensorType::kQ8_0: return 0;
    case TensorType::kQ6_K: return 208;
    default: return InfoOf(type).block_bytes;
  }
}

int64_t StripedRows(const Tensor& w) { return w.rows / kStripeRows * kStripeRows; }

// Calls visit(offset in the row, constant width) for every field of a row, in order.
template <typename Visit>
void ForEachField(const Tensor& w, const Visit& visit) {
  constexpr std::integral_constant<size_t, 2> kHalf;
  constexpr std::integral_constant<size_t, 4> kDword;
  const size_t block_bytes = InfoOf(w.type).block_bytes, scale = LoneScaleAt(w.type);
  for (size_t block = 0; block < w.row_bytes; block += block_bytes) {
    for (size_t at = 0; at < block_bytes;) {
      if (at == scale) {
        visit(block + at, kHalf);
        at += kHalf;
      } else {
        visit(block + at, kDword);
        at += kDword;
      }
    }
  }
}

}  // namespace

bool HasStripes(TensorType type) { return InfoOf(type).block_elements > 1; }

void StripeRows(const Tensor& w, int64_t begin, int64_t end, std::byte* out) {
  assert(!w.striped && HasStripes(w.type) && begin % kStripeRows == 0);
  for (int64_t row = begin; row < end; row += kStripeRows) {
    const std::byte* from = w.data + static_cast<size_t>(row) * w.row_bytes;
    std::byte* to = out + static_cast<size_t>(row) * w.row_bytes;
    if (row >= StripedRows(w)) {
      std::memcpy(to, from, static_cast<size_t>(end - row) * w.row_bytes);
      return;
    }
    ForEachField(w, [&](size_t at, auto field) {
      for (size_t r = 0; r < kStripeRows; ++r) {
        std::memcpy(to + kStripeRows * at + r * field(), from + r * w.row_bytes + at, field());
      }
    });
  }
}

void CopyRow(const Tensor& w, int64_t row, std::byte* out) {
  if (!w.striped || row >= StripedRows(w)) {
    std::memcpy(out, w.data + static_cast<size_t>(row) * w.row_bytes, w.row_bytes);
    return;
  }
  const auto lane = static_cast<size_t>(row % kStripeRows);
  const std::byte* run =
      w.data + static_cast<size_t>(row / kStripeRows * kStripeRows) * w.row_bytes;
  ForEachField(w, [&](size_t at, auto field) {
    std::memcpy(out + at, run + kStripeRows * at + lane * field(), field());
  });
}

}  // namespace kvasir
