// Typed reading of one JSON object from a model's folder. As transformers does, a key that is null
// counts as absent. Errors: kNotFound names an absent key that has no fallback, kCorruption a value
// of another type or out of range, each with the file and the path of keys that lead there.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "kvasir/status.h"

namespace kvasir {

class JsonFields {
 public:
  // Borrows `object`; `where` goes in front of every message.
  JsonFields(const nlohmann::ordered_json& object, std::string where)
      : object_(&object), where_(std::move(where)) {}

  bool Has(const char* key) const;
  bool IsNull(const char* key) const;  // there, and null
  // Null when absent.
  const nlohmann::ordered_json* Find(const char* key) const;
  // "config.json: rope_scaling.factor".
  std::string Where(const char* key) const { return where_ + key; }

  Result<int32_t> Int(const char* key, int32_t low, int32_t high,
                      std::optional<int32_t> fallback = std::nullopt) const;
  // Finite numbers only.
  Result<double> Number(const char* key, std::optional<double> fallback = std::nullopt) const;
  Result<double> Positive(const char* key, std::optional<double> fallback = std::nullopt) const;
  Result<bool> Bool(const char* key, bool fallback) const;
  Result<std::string> String(const char* key,
                             std::optional<std::string> fallback = std::nullopt) const;
  Result<std::vector<std::string>> Strings(const char* key) const;
  // `n` numbers above 0.
  Result<std::vector<float>> PositiveFloats(const char* key, size_t n) const;
  // The fields of a nested object.
  Result<JsonFields> Object(const char* key) const;

 private:
  Status Missing(const char* key) const;
  Status Wrong(const char* key, const std::string& expected) const;

  const nlohmann::ordered_json* object_;
  std::string where_;
};

}  // namespace kvasir
