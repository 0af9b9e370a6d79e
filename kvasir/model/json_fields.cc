#include "kvasir/model/json_fields.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "kvasir/model/gguf.h"

namespace kvasir {
namespace {

using Json = nlohmann::ordered_json;

// A value as a message shows it; never throws on bytes that are not UTF-8.
std::string Shown(const Json& value) {
  return Printable(value.dump(-1, ' ', false, Json::error_handler_t::replace));
}

bool IsPositiveFloat(const Json& value) {
  if (!value.is_number()) return false;
  const float number = value.get<float>();
  return std::isfinite(number) && number > 0;
}

}  // namespace

const Json* JsonFields::Find(const char* key) const {
  const auto found = object_->find(key);
  return found == object_->end() || found->is_null() ? nullptr : &*found;
}

bool JsonFields::Has(const char* key) const { return Find(key) != nullptr; }

bool JsonFields::IsNull(const char* key) const {
  const auto found = object_->find(key);
  return found != object_->end() && found->is_null();
}

Status JsonFields::Missing(const char* key) const {
  return Status::NotFound(fmt::format("{}: missing", Where(key)));
}

Status JsonFields::Wrong(const char* key, const std::string& expected) const {
  return Status::Corruption(
      fmt::format("{}: expected {}, found {}", Where(key), expected, Shown(*Find(key))));
}

Result<int32_t> JsonFields::Int(const char* key, int32_t low, int32_t high,
                                std::optional<int32_t> fallback) const {
  const Json* value = Find(key);
  if (value == nullptr) return fallback ? Result<int32_t>(*fallback) : Missing(key);
  const bool fits = value->is_number_unsigned()
                        ? value->get<uint64_t>() <= INT32_MAX
                        : value->is_number_integer() && value->get<int64_t>() >= INT32_MIN;
  if (!fits || value->get<int32_t>() < low || value->get<int32_t>() > high) {
    return Wrong(key, fmt::format("an integer from {} to {}", low, high));
  }
  return value->get<int32_t>();
}

Result<double> JsonFields::Number(const char* key, std::optional<double> fallback) const {
  const Json* value = Find(key);
  if (value == nullptr) return fallback ? Result<double>(*fallback) : Missing(key);
  if (!value->is_number() || !std::isfinite(value->get<double>())) return Wrong(key, "a number");
  return value->get<double>();
}

Result<double> JsonFields::Positive(const char* key, std::optional<double> fallback) const {
  KVASIR_ASSIGN_OR_RETURN(const double number, Number(key, fallback));
  if (Has(key) && !(number > 0)) return Wrong(key, "a number above 0");
  return number;
}

Result<bool> JsonFields::Bool(const char* key, bool fallback) const {
  const Json* value = Find(key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) return Wrong(key, "true or false");
  return value->get<bool>();
}

Result<std::string> JsonFields::String(const char* key, std::optional<std::string> fallback) const {
  const Json* value = Find(key);
  if (value == nullptr) return fallback ? Result<std::string>(*fallback) : Missing(key);
  if (!value->is_string()) return Wrong(key, "a string");
  return value->get<std::string>();
}

Result<std::vector<std::string>> JsonFields::Strings(const char* key) const {
  const Json* list = Find(key);
  if (list == nullptr) return Missing(key);
  if (!list->is_array()) return Wrong(key, "an array of strings");
  std::vector<std::string> strings;
  for (const Json& value : *list) {
    if (!value.is_string()) return Wrong(key, "an array of strings");
    strings.push_back(value.get<std::string>());
  }
  return strings;
}

Result<std::vector<float>> JsonFields::PositiveFloats(const char* key, size_t n) const {
  const Json* list = Find(key);
  if (list == nullptr) return Missing(key);
  if (!list->is_array() || list->size() != n) return Wrong(key, fmt::format("{} numbers", n));
  std::vector<float> numbers;
  for (const Json& value : *list) {
    if (!IsPositiveFloat(value)) return Wrong(key, fmt::format("{} numbers above 0", n));
    numbers.push_back(value.get<float>());
  }
  return numbers;
}

Result<JsonFields> JsonFields::Object(const char* key) const {
  const Json* value = Find(key);
  if (value == nullptr) return Missing(key);
  if (!value->is_object()) return Wrong(key, "an object");
  return JsonFields(*value, Where(key) + ".");
}

}  // namespace kvasir
