#include "kvasir/model/json_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <nlohmann/json.hpp>

#include "kvasir/core/mapped_file.h"

namespace kvasir {
namespace {

// Brackets outside strings, deepest level; right for valid JSON, harmless for the rest.
int NestingOf(std::string_view text) {
  int depth = 0, deepest = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      deepest = std::max(deepest, ++depth);
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return deepest;
}

template <typename Json>
Result<Json> ParseAny(std::string_view text, const std::string& path) {
  if (const int depth = NestingOf(text); depth > kMaxJsonDepth) {
    return Status::Corruption(fmt::format("{}: expected JSON of at most {} levels, found {}", path,
                                          kMaxJsonDepth, depth));
  }
  try {
    return Json::parse(text);
  } catch (const nlohmann::json::parse_error& error) {
    return Status::Corruption(fmt::format("{}: not valid JSON at byte {}", path, error.byte));
  } catch (const std::exception& error) {
    return Status::Corruption(fmt::format("{}: not valid JSON: {}", path, error.what()));
  }
}

template <typename Json>
Result<Json> ParseObject(std::string_view text, const std::string& path) {
  KVASIR_ASSIGN_OR_RETURN(Json document, ParseAny<Json>(text, path));
  if (document.is_object()) return document;
  return Status::Corruption(
      fmt::format("{}: expected a JSON object, found {}", path, document.type_name()));
}

}  // namespace

Result<nlohmann::ordered_json> ParseJson(std::string_view text, const std::string& path) {
  return ParseAny<nlohmann::ordered_json>(text, path);
}

Result<nlohmann::ordered_json> ParseJsonObject(std::string_view text, const std::string& path) {
  return ParseObject<nlohmann::ordered_json>(text, path);
}

Result<nlohmann::json> ParseSortedJsonObject(std::string_view text, const std::string& path) {
  return ParseObject<nlohmann::json>(text, path);
}

Result<nlohmann::ordered_json> ReadJsonFile(const std::string& path) {
  KVASIR_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  return ParseJsonObject(text, path);
}

}  // namespace kvasir
