// A Hugging Face tokenizer.json and what stands beside it, as a VocabularySpec.
#pragma once

#include <string_view>

#include "kvasir/model/vocabulary.h"
#include "kvasir/status.h"

namespace kvasir {

// Contents of the files; all but the first may be empty.
struct TokenizerFiles {
  std::string_view tokenizer;          // tokenizer.json
  std::string_view tokenizer_config;   // tokenizer_config.json
  std::string_view generation_config;  // generation_config.json
  std::string_view config;             // config.json
};

// Model type BPE, byte-level or with byte fallback. Others are refused by name.
// Errors: kCorruption and kUnsupported name file and field.
Result<VocabularySpec> VocabularyFromJson(const TokenizerFiles& files);

}  // namespace kvasir
