// A weight matrix.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "kvasir/kernels/tensor_type.h"

namespace kvasir {

// Row-major matrix view, (rows, cols): y[rows] = W x[cols]. A row is contiguous and starts
// `row_bytes` after the one before, unless the matrix lies in stripes. Borrows its bytes.
struct Tensor {
  TensorType type = TensorType::kF32;
  int64_t rows = 0;
  int64_t cols = 0;
  const std::byte* data = nullptr;
  size_t row_bytes = 0;
  bool striped = false;  // rows lie as kernels/weight_stripes.h says

  bool empty() const { return data == nullptr; }
  // Rows [begin, begin + n) of one that is not striped: how fused tensors (phi3) are taken apart
  // without a copy.
  Tensor Rows(int64_t begin, int64_t n) const {
    return {type, n, cols, data + static_cast<size_t>(begin) * row_bytes, row_bytes};
  }
};

}  // namespace kvasir
