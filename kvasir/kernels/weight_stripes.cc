#include "kvasir/kernels/weight_stripes.h"

#include <cassert>
#include <cstring>

#include "kvasir/core/isa.h"
#include "kvasir/kernels/weight_stripes_kernels.h"

namespace kvasir {
namespace {

StripeKernel ActiveStripeKernel() {
#if defined(__x86_64__)
  if (ActiveIsa() != Isa::kScalar) return StripeAvx2;
#endif
  return StripeScalar;
}

}  // namespace

bool HasStripes(TensorType type) { return InfoOf(type).block_elements > 1; }

void StripeRows(const Tensor& w, int64_t begin, int64_t end, std::byte* out) {
  assert(!w.striped && HasStripes(w.type) && begin % kStripeRows == 0);
  const auto at = [&](int64_t row) { return static_cast<size_t>(row) * w.row_bytes; };
  const int64_t n_run = (end - begin) / kStripeRows, left = begin + n_run * kStripeRows;
  ActiveStripeKernel()({.type = w.type,
                        .row_bytes = w.row_bytes,
                        .n_run = static_cast<size_t>(n_run),
                        .from = w.data + at(begin),
                        .to = out + at(begin)});
  if (left < end) std::memcpy(out + at(left), w.data + at(left), at(end - left));
}

}  // namespace kvasir
