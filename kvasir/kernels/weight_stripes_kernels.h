// The variants that bring rows into stripes. The scalar one is the definition. Internal to
// kernels/.
#pragma once

#include <cstddef>

#include "kvasir/kernels/tensor_type.h"

namespace kvasir {

// Whole runs of 16 rows, from `from` to `to`.
struct StripeCall {
  TensorType type;
  size_t row_bytes;
  size_t n_run;
  const std::byte* from;
  std::byte* to;
};

using StripeKernel = void (*)(const StripeCall& call);

void StripeScalar(const StripeCall& call);
void StripeAvx2(const StripeCall& call);

}  // namespace kvasir
