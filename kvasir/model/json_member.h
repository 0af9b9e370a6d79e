// Typed access to members of JSON objects from outside. `where` is the object's place in messages,
// for example "tokenizer.json: model".
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "kvasir/status.h"

namespace kvasir {

// The member, or null when `object` is no object, lacks it or holds JSON null there.
const nlohmann::json* JsonMember(const nlohmann::json& object, const char* key);

// Errors: kCorruption when the member is there but of another type. Absent: the fallback.
Result<bool> JsonBool(const nlohmann::json& object, const char* key, bool fallback,
                      std::string_view where);
Result<std::string> JsonString(const nlohmann::json& object, const char* key,
                               std::string_view fallback, std::string_view where);

// A token id: an integer from 0 to below `limit`. Errors: kCorruption.
Result<int32_t> JsonId(const nlohmann::json& value, int64_t limit, std::string_view where);

}  // namespace kvasir
