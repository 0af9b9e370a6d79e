// y = x W^T for every weight type.
//
// Reduction order, the same in every variant, for one token or many, so that results are equal to
// the bit whatever the ISA, thread count, batch or chunk:
//  - float weights (f32, f16, bf16): one fma chain per output element in ascending k, from 0;
//  - quantised weights: activations are rounded to int8 in blocks with f32 scales, products inside
//  a
//    block are summed exactly in integers, and blocks are added by one fma chain per output element
//    in ascending order. matmul_scalar.cc is the definition, type by type.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kvasir/core/thread_team.h"
#include "kvasir/kernels/tensor.h"
#include "kvasir/kernels/tensor_type.h"

namespace kvasir {

// Bytes that PrepareActivations writes for `n_token` rows of `cols` values.
size_t PreparedBytes(TensorType weights, int64_t n_token, int64_t cols);

// Brings activations into the form that products with `weights` read: f32 as they are, or int8
// blocks.
//   x    (n_token, cols) f32, rows `x_stride` floats apart
//   out  PreparedBytes, 64-byte aligned
void PrepareActivations(TensorType weights, const float* x, int64_t x_stride, int64_t n_token,
                        int64_t cols, void* out, ThreadTeam& team);

// y(n_token, w.rows), rows `y_stride` floats apart.
struct MatMulOutput {
  const Tensor* w;
  float* y;
  int64_t y_stride;
};
// All outputs in one loop. `prepared` was made for the type and the columns of each w.
void MatMul(std::span<const MatMulOutput> outputs, const void* prepared, int64_t n_token,
            ThreadTeam& team);
inline void MatMul(const Tensor& w, const void* prepared, int64_t n_token, float* y,
                   int64_t y_stride, ThreadTeam& team) {
  const MatMulOutput output = {&w, y, y_stride};
  MatMul({&output, 1}, prepared, n_token, team);
}

// Whether two weight types read the same prepared activations (so that q, k and v share one).
bool SamePreparation(TensorType a, TensorType b);

// n values of a row from any type to f32, exactly. `n` is a multiple of the block.
void DequantizeRow(TensorType type, const void* src, float* dst, int64_t n);
// The reverse with ggml's reference rounding, for every type in TensorType. Used by `synth`.
void QuantizeRow(TensorType type, const float* src, void* dst, int64_t n);

}  // namespace kvasir
