// Text as a conversation, and the conversation through a chat template.
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "kvasir/model/chat_file.h"
#include "kvasir/model/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto chat_template = kvasir::ChatTemplate::Builtin("chatml", {});
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto messages = kvasir::ParseChatFile(text, "input");
  if (!messages.ok()) {
    if (messages.status().message().empty()) __builtin_trap();
    return 0;
  }
  for (const auto& message : *messages) {
    if (!message.at("role").is_string() || !message.contains("content")) __builtin_trap();
  }
  const auto rendered = chat_template->Apply({.messages = *messages, .now = 0});
  if (!rendered.ok() && rendered.status().message().empty()) __builtin_trap();
  return 0;
}
