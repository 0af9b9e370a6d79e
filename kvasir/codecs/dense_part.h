// Plain floats as codecs: tiles of 16 tokens, a block each.
#pragma once

#include <memory>

#include "kvasir/codecs/registry.h"

namespace kvasir {

enum class DenseType { kF32, kF16, kBf16 };

// f32 and f16 tiles are read in place; bf16, which no attention kernel reads, is widened. Rounding
// is to nearest even.
Result<std::shared_ptr<const KvCodec>> MakeDenseCodec(std::string name, DenseType type);

}  // namespace kvasir
