#include "kvasir/model/json_member.h"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

namespace kvasir {

using nlohmann::json;

const json* JsonMember(const json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

Result<bool> JsonBool(const json& object, const char* key, bool fallback, std::string_view where) {
  const json* value = JsonMember(object, key);
  if (value == nullptr) return fallback;
  if (value->is_boolean()) return value->get<bool>();
  return Status::Corruption(
      fmt::format("{}.{}: expected true or false, found {}", where, key, value->type_name()));
}

Result<std::string> JsonString(const json& object, const char* key, std::string_view fallback,
                               std::string_view where) {
  const json* value = JsonMember(object, key);
  if (value == nullptr) return std::string(fallback);
  if (value->is_string()) return value->get<std::string>();
  return Status::Corruption(
      fmt::format("{}.{}: expected a string, found {}", where, key, value->type_name()));
}

Result<int32_t> JsonId(const json& value, int64_t limit, std::string_view where) {
  if (value.is_number_unsigned() && value.get<uint64_t>() < static_cast<uint64_t>(limit)) {
    return static_cast<int32_t>(value.get<uint64_t>());
  }
  return Status::Corruption(
      fmt::format("{}: expected an integer from 0 to {}, found {}", where, limit - 1,
                  value.is_number() ? value.dump() : std::string(value.type_name())));
}

}  // namespace kvasir
