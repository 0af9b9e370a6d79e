// Hyper-parameters of a GGUF file, resolved from its metadata.
#pragma once

#include "kvasir/model/gguf.h"
#include "kvasir/model/model.h"

namespace kvasir {

// Everything but the RoPE vectors that are stored as tensors. Defaults are those that llama.cpp's
// converters rely on when they leave a key out.
// Errors: kUnsupported names an architecture or a key that asks for something this build does not
// do; kNotFound and kCorruption name the key.
Result<ModelSpec> ReadGgufSpec(const GgufFile& file);

}  // namespace kvasir
