// The one place that knows the tokenizer.ggml.* keys.
#pragma once

#include <memory>

#include "kvasir/model/gguf.h"
#include "kvasir/model/vocabulary.h"
#include "kvasir/status.h"

namespace kvasir {

// Copies what it needs; `file` may go away afterwards.
// Errors: kNotFound without a vocabulary, kUnsupported names a tokenizer.ggml.model other than
// llama and gpt2, kCorruption names the key that contradicts the others.
Result<VocabularySpec> VocabularyFromGguf(const GgufFile& file);

Result<std::unique_ptr<Tokenizer>> TokenizerFromGguf(const GgufFile& file);

}  // namespace kvasir
