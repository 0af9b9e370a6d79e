// Bytes as a GGUF file: the container, every accessor, and the whole way to a model.
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kvasir/model/gguf.h"
#include "kvasir/model/gguf_model.h"

namespace {

template <typename T>
void Touch(const kvasir::Result<T>& result) {
  if (!result.ok() && result.status().message().empty()) __builtin_trap();
}

void ReadEveryWay(const kvasir::GgufFile& file, std::string_view key) {
  Touch(file.GetU32(key));
  Touch(file.GetI32(key));
  Touch(file.GetU64(key));
  Touch(file.GetF32(key));
  Touch(file.GetBool(key));
  Touch(file.GetString(key));
  Touch(file.GetStrings(key));
  Touch(file.GetI32s(key));
  Touch(file.GetU32s(key));
  Touch(file.GetF32s(key));
  Touch(file.GetBools(key));
}

uint64_t SumBytes(const kvasir::GgufFile& file) {
  uint64_t sum = 0;
  for (const kvasir::GgufTensor& tensor : file.tensors()) {
    const kvasir::Tensor matrix = tensor.Matrix();
    if (static_cast<uint64_t>(matrix.rows) * matrix.row_bytes != tensor.data.size()) {
      __builtin_trap();
    }
    for (const std::byte b : tensor.data) sum += std::to_integer<uint64_t>(b);
  }
  return sum;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto input = std::as_bytes(std::span(data, size));
  const std::vector<std::byte> bytes(input.begin(), input.end());  // aligned as a mapping would be
  const auto file = kvasir::GgufFile::FromMemory(bytes, "input");
  Touch(file);
  if (!file.ok()) return 0;
  for (const kvasir::GgufEntry& entry : file->metadata()) ReadEveryWay(*file, entry.key);
  [[maybe_unused]] static volatile uint64_t sum;
  sum = SumBytes(*file);
  Touch(kvasir::BuildGgufModel(*file));
  return 0;
}
