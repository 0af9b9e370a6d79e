#include "kvasir/model/open_tokenizer.h"

#include <filesystem>

#include "kvasir/model/gguf_vocabulary.h"

namespace kvasir {

Result<std::unique_ptr<Tokenizer>> OpenTokenizer(const std::string& path) {
  std::error_code ignored;
  if (path.ends_with(".json") || std::filesystem::is_directory(path, ignored)) {
    return TokenizerFromJson(path);
  }
  KVASIR_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::Open(path));
  return TokenizerFromGguf(file);
}

}  // namespace kvasir
