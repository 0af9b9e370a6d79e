// Turns an open GGUF file into a Model. Internal to the loader; LoadGgufModel is the way in for all
// but tests and fuzzers, which open files from memory.
#pragma once

#include <memory>

#include "kvasir/model/gguf.h"
#include "kvasir/model/model.h"

namespace kvasir {

// The model borrows the file's bytes and keeps `file.files()` alive. Errors as LoadModel.
Result<std::shared_ptr<const Model>> BuildGgufModel(const GgufFile& file);

}  // namespace kvasir
