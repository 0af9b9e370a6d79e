// One GGUF file taken apart and checked; gguf.h joins the parts of a split. Internal to the reader.
#pragma once

#include "kvasir/model/gguf.h"

namespace kvasir {

struct GgufPart {
  uint32_t version = 0;
  std::vector<GgufEntry> metadata;  // keys are distinct
  std::vector<GgufTensor> tensors;  // names are distinct, bytes in range and disjoint
};

// Bytes of one element of a number or bool; 0 for strings, arrays and ids outside the format.
size_t GgufElementBytes(GgufType type);

// `bytes` is the whole file, `name` its path for messages. Nothing is allocated in proportion to a
// count before that count was checked against the bytes that are there.
Result<GgufPart> ParseGgufPart(std::span<const std::byte> bytes, const std::string& name);

}  // namespace kvasir
