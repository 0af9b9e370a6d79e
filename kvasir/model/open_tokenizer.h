#pragma once

#include <memory>
#include <string>

#include "kvasir/model/tokenizer.h"
#include "kvasir/status.h"

namespace kvasir {

// The tokenizer of a GGUF file (one with vocabulary only will do), of a Hugging Face folder, or of
// a tokenizer.json. Errors are those of TokenizerFromGguf and TokenizerFromJson.
Result<std::unique_ptr<Tokenizer>> OpenTokenizer(const std::string& path);

}  // namespace kvasir
