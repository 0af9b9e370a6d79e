// The JSON header of a safetensors file, read without building a document of it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kvasir/status.h"

namespace kvasir {

// One tensor as the header states it; only its form has been checked.
struct SafetensorsClaim {
  std::string name;
  std::string dtype;
  std::vector<uint64_t> shape;
  uint64_t begin = 0, end = 0;  // bytes in the data section
};

// In the header's order; `__metadata__` is skipped. Names are unique.
// Errors: kCorruption names the tensor and field, or the byte in `text`, `path` in front.
Result<std::vector<SafetensorsClaim>> ParseSafetensorsHeader(std::string_view text,
                                                             std::string_view path);

}  // namespace kvasir
