// Reading a small JSON file that came from outside.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "kvasir/status.h"

namespace kvasir {

// Nesting that ReadJsonFile accepts; nothing that describes a model comes near.
inline constexpr int kMaxJsonDepth = 64;

// The object in a file, key order kept.
// Errors: kNotFound without the file, kCorruption names the byte where JSON ends being valid, or
// the nesting, or a document that is not an object.
Result<nlohmann::ordered_json> ReadJsonFile(const std::string& path);
// Any document, under the same limits.
Result<nlohmann::ordered_json> ParseJson(std::string_view text, const std::string& path);
Result<nlohmann::ordered_json> ParseJsonObject(std::string_view text, const std::string& path);
// The same with sorted keys, for objects of very many: a vocabulary.
Result<nlohmann::json> ParseSortedJsonObject(std::string_view text, const std::string& path);

}  // namespace kvasir
