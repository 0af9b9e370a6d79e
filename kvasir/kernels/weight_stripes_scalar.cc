// The definition: plain loops over the fields that weight_stripes.h speaks of.
#include <cstring>
#include <type_traits>

#include "kvasir/kernels/weight_stripes.h"
#include "kvasir/kernels/weight_stripes_kernels.h"

namespace kvasir {
namespace {

constexpr size_t kRows = kStripeRows;

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

// Calls visit(offset in the row, constant width) for every field of a row, in order.
template <typename Visit>
void ForEachField(TensorType type, size_t row_bytes, const Visit& visit) {
  constexpr std::integral_constant<size_t, 2> kHalf;
  constexpr std::integral_constant<size_t, 4> kDword;
  const size_t block_bytes = InfoOf(type).block_bytes, scale = LoneScaleAt(type);
  for (size_t block = 0; block < row_bytes; block += block_bytes) {
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

void StripeScalar(const StripeCall& call) {
  for (size_t run = 0; run < call.n_run; ++run) {
    const std::byte* from = call.from + run * kRows * call.row_bytes;
    std::byte* to = call.to + run * kRows * call.row_bytes;
    ForEachField(call.type, call.row_bytes, [&](size_t at, auto field) {
      for (size_t r = 0; r < kRows; ++r) {
        std::memcpy(to + kRows * at + r * field(), from + r * call.row_bytes + at, field());
      }
    });
  }
}

void CopyRow(const Tensor& w, int64_t row, std::byte* out) {
  if (!w.striped || row >= w.rows / kStripeRows * kStripeRows) {
    std::memcpy(out, w.data + static_cast<size_t>(row) * w.row_bytes, w.row_bytes);
    return;
  }
  const auto lane = static_cast<size_t>(row % kStripeRows);
  const std::byte* run =
      w.data + static_cast<size_t>(row / kStripeRows * kStripeRows) * w.row_bytes;
  ForEachField(w.type, w.row_bytes, [&](size_t at, auto field) {
    std::memcpy(out + at, run + kRows * at + lane * field(), field());
  });
}

}  // namespace kvasir
