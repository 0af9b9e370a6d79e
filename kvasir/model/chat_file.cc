#include "kvasir/model/chat_file.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "kvasir/model/json_file.h"

namespace kvasir {
namespace {

using Json = nlohmann::ordered_json;

Status CheckMessage(const Json& message, const std::string& where) {
  if (!message.is_object()) {
    return Status::Corruption(
        fmt::format("{}: expected an object, found {}", where, message.type_name()));
  }
  const auto role = message.find("role");
  if (role == message.end() || !role->is_string()) {
    return Status::Corruption(fmt::format("{}.role: expected text, found {}", where,
                                          role == message.end() ? "nothing" : role->type_name()));
  }
  if (message.contains("content")) return Status::Ok();
  return Status::Corruption(fmt::format("{}.content: expected text, found nothing", where));
}

}  // namespace

Result<Json> ParseChatFile(std::string_view text, const std::string& path) {
  KVASIR_ASSIGN_OR_RETURN(Json document, ParseJson(text, path));
  if (document.is_object() && document.contains("messages")) {
    Json messages = std::move(document["messages"]);
    document = std::move(messages);
  }
  if (!document.is_array()) {
    return Status::Corruption(
        fmt::format("{}: expected a list of messages, found {}", path, document.type_name()));
  }
  if (document.empty()) {
    return Status::InvalidArgument(fmt::format("{}: expected messages, found an empty list", path));
  }
  for (size_t i = 0; i < document.size(); ++i) {
    KVASIR_RETURN_IF_ERROR(CheckMessage(document[i], fmt::format("{}: messages[{}]", path, i)));
  }
  return document;
}

}  // namespace kvasir
