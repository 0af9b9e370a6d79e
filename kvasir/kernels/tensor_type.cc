#include "kvasir/kernels/tensor_type.h"

#include <array>
#include <cassert>

namespace kvasir {
namespace {

constexpr TensorTypeInfo kTypes[] = {
    {TensorType::kF32, "f32", 1, 4},       {TensorType::kF16, "f16", 1, 2},
    {TensorType::kQ4_0, "q4_0", 32, 18},   {TensorType::kQ4_1, "q4_1", 32, 20},
    {TensorType::kQ5_0, "q5_0", 32, 22},   {TensorType::kQ5_1, "q5_1", 32, 24},
    {TensorType::kQ8_0, "q8_0", 32, 34},   {TensorType::kQ4_K, "q4_k", 256, 144},
    {TensorType::kQ5_K, "q5_k", 256, 176}, {TensorType::kQ6_K, "q6_k", 256, 210},
    {TensorType::kBF16, "bf16", 1, 2},
};

// Indexed by ggml's id. Ids that ggml has retired keep their last name.
constexpr std::array<std::string_view, 43> kGgmlNames = {
    "f32",   "f16",        "q4_0",       "q4_1",       "q4_2",     "q4_3",     "q5_0",
    "q5_1",  "q8_0",       "q8_1",       "q2_k",       "q3_k",     "q4_k",     "q5_k",
    "q6_k",  "q8_k",       "iq2_xxs",    "iq2_xs",     "iq3_xxs",  "iq1_s",    "iq4_nl",
    "iq3_s", "iq2_s",      "iq4_xs",     "i8",         "i16",      "i32",      "i64",
    "f64",   "iq1_m",      "bf16",       "q4_0_4_4",   "q4_0_4_8", "q4_0_8_8", "tq1_0",
    "tq2_0", "iq4_nl_4_4", "iq4_nl_4_8", "iq4_nl_8_8", "mxfp4",    "nvfp4",    "q1_0",
    "q2_0"};

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool EqualIgnoringCase(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (Lower(a[i]) != Lower(b[i])) return false;
  }
  return true;
}

}  // namespace

const TensorTypeInfo* FindTensorType(uint32_t ggml_id) {
  for (const TensorTypeInfo& info : kTypes) {
    if (static_cast<uint32_t>(info.type) == ggml_id) return &info;
  }
  return nullptr;
}

const TensorTypeInfo* FindTensorType(std::string_view name) {
  for (const TensorTypeInfo& info : kTypes) {
    if (EqualIgnoringCase(info.name, name)) return &info;
  }
  return nullptr;
}

const TensorTypeInfo& InfoOf(TensorType type) {
  const TensorTypeInfo* info = FindTensorType(static_cast<uint32_t>(type));
  assert(info != nullptr);
  return *info;
}

std::string_view GgmlTypeName(uint32_t ggml_id) {
  return ggml_id < kGgmlNames.size() ? kGgmlNames[ggml_id] : "unknown";
}

size_t RowBytes(TensorType type, size_t n) {
  const TensorTypeInfo& info = InfoOf(type);
  assert(n % info.block_elements == 0);
  return n / info.block_elements * info.block_bytes;
}

}  // namespace kvasir
