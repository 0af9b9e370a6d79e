// Number formats of weights, with ggml's ids and block layouts (ggml.h, gguf document).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace kvasir {

// Values are ggml's type ids; files carry them.
enum class TensorType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kBF16 = 30,
};

struct TensorTypeInfo {
  TensorType type;
  std::string_view name;  // lower case, llama.cpp's spelling: "q4_k", "f16"
  size_t block_elements;  // elements along a row that are encoded together; 1 for plain floats
  size_t block_bytes;
};

// Null for a type that this build does not read.
const TensorTypeInfo* FindTensorType(uint32_t ggml_id);
const TensorTypeInfo* FindTensorType(std::string_view name);  // any letter case
const TensorTypeInfo& InfoOf(TensorType type);
// ggml's name of any id up to Q2_0=42, supported or not; "unknown" beyond. For messages.
std::string_view GgmlTypeName(uint32_t ggml_id);

// Bytes of one row of `n` elements. `n` must be a multiple of the block.
size_t RowBytes(TensorType type, size_t n);

}  // namespace kvasir
