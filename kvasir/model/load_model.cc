#include <filesystem>

#include "kvasir/model/model.h"

namespace kvasir {

Result<std::shared_ptr<const Model>> LoadModel(const std::string& path,
                                               const LoadOptions& options) {
  std::error_code ignored;  // what cannot be looked at is reported by the file loader
  return std::filesystem::is_directory(path, ignored) ? LoadHfModel(path, options)
                                                      : LoadGgufModel(path, options);
}

}  // namespace kvasir
