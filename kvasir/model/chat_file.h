// A conversation in a file: a JSON array of messages, or an object whose "messages" is one.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "kvasir/status.h"

namespace kvasir {

// The array, as ChatTemplate::Apply takes it: objects with a "role", which is text, and "content".
// Errors: kCorruption names the byte where JSON ends being valid, or the message that is malformed;
// kInvalidArgument for no messages.
Result<nlohmann::ordered_json> ParseChatFile(std::string_view text, const std::string& path);

}  // namespace kvasir
