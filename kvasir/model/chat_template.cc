#include "kvasir/model/chat_template.h"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "kvasir/core/join.h"

namespace kvasir {
namespace {

using Json = nlohmann::ordered_json;

// Some templates build control tokens out of the role: '<|' + role + '|>'. Only these words may.
bool IsUsualRole(std::string_view role) {
  constexpr std::string_view kRoles[] = {"system",    "user",  "assistant", "tool",
                                         "developer", "model", "function",  "ipython"};
  return std::find(std::begin(kRoles), std::end(kRoles), role) != std::end(kRoles);
}

bool TrustsChatString(const jinja::ContextString& string) {
  if (string.key == "role") return IsUsualRole(string.value);
  return string.depth == 0 && (string.key == "bos_token" || string.key == "eos_token");
}

Status BadMessage(size_t index, std::string_view what) {
  return Status::InvalidArgument(fmt::format("messages[{}]: {}", index, what));
}

// {"type": "text", "text": "..."}, or a bare string; anything else has no place in a string.
Status AppendPart(const Json& part, size_t index, std::string& out) {
  if (part.is_string()) {
    out += part.get_ref<const std::string&>();
    return Status::Ok();
  }
  if (!part.is_object()) return BadMessage(index, "a content part must be an object or a string");
  if (part.contains("text") && part["text"].is_string()) {
    out += part["text"].get_ref<const std::string&>();
    return Status::Ok();
  }
  const std::string type =
      part.contains("type") && part["type"].is_string() ? part["type"].get<std::string>() : "none";
  return Status::Unsupported(fmt::format(
      "messages[{}]: content part of type '{}' in a template that takes text only", index, type));
}

Status JoinParts(Json& content, size_t index) {
  std::string joined;
  for (const Json& part : content) KVASIR_RETURN_IF_ERROR(AppendPart(part, index, joined));
  content = std::move(joined);
  return Status::Ok();
}

Json AsParts(Json text) { return Json::array({Json{{"type", "text"}, {"text", std::move(text)}}}); }

// JSON text and object are two spellings of a call's arguments; text that is no object stays.
void ShapeArguments(Json& arguments, bool as_object) {
  if (as_object && arguments.is_string()) {
    Json parsed = Json::parse(arguments.get_ref<const std::string&>(), nullptr, false);
    if (parsed.is_object()) arguments = std::move(parsed);
  } else if (!as_object && arguments.is_object()) {
    arguments = arguments.dump(-1, ' ', false, Json::error_handler_t::replace);
  }
}

void ShapeToolCalls(Json& message, bool as_object) {
  if (!message.contains("tool_calls") || !message["tool_calls"].is_array()) return;
  for (Json& call : message["tool_calls"]) {
    if (!call.is_object()) continue;
    Json& function =
        call.contains("function") && call["function"].is_object() ? call["function"] : call;
    if (function.contains("arguments")) ShapeArguments(function["arguments"], as_object);
  }
}

Status ShapeMessage(Json& message, size_t index, const ChatCapabilities& capabilities) {
  if (!message.is_object()) return BadMessage(index, "must be an object");
  if (!message.contains("role") || !message["role"].is_string()) {
    return BadMessage(index, "needs a string 'role'");
  }
  if (capabilities.tool_calls) ShapeToolCalls(message, capabilities.object_arguments);
  if (!message.contains("content")) return Status::Ok();
  Json& content = message["content"];
  if (content.is_array() && !capabilities.typed_content) return JoinParts(content, index);
  if (content.is_string() && !capabilities.string_content && capabilities.typed_content) {
    content = AsParts(std::move(content));
  }
  return Status::Ok();
}

// --- probes
// -----------------------------------------------------------------------------------------

constexpr std::string_view kNeedle = "kvasirprobe";

Json Message(std::string_view role, Json content) {
  return Json{{"role", role}, {"content", std::move(content)}};
}

Json ToolCallTurn(Json arguments, Json content) {
  Json message = Message("assistant", std::move(content));
  message["tool_calls"] = Json::array(
      {Json{{"id", "call00001"},
            {"type", "function"},
            {"function", Json{{"name", kNeedle}, {"arguments", std::move(arguments)}}}}});
  return Json::array({Message("user", "hello"), std::move(message)});
}

Json ProbeTools() {
  const Json parameters{
      {"type", "object"},
      {"properties", Json{{"city", Json{{"type", "string"}, {"description", "x"}}}}},
      {"required", Json::array({"city"})}};
  const Json function{{"name", kNeedle}, {"description", "x"}, {"parameters", parameters}};
  return Json::array({Json{{"type", "function"}, {"function", function}}});
}

}  // namespace

jinja::RenderOptions ChatRenderOptions(const jinja::Limits& limits,
                                       std::optional<std::time_t> now) {
  return {.limits = limits, .now = now, .trusts = TrustsChatString};
}

ChatTemplate::ChatTemplate(jinja::Template parsed, ChatTemplateOptions options)
    : template_(std::move(parsed)), options_(std::move(options)) {
  Probe();
}

Result<ChatTemplate> ChatTemplate::Compile(std::string_view source, ChatTemplateOptions options) {
  if (source.empty()) {
    return Status::Unsupported(
        "the model has no tokenizer.chat_template; name one with --chat-template");
  }
  KVASIR_ASSIGN_OR_RETURN(jinja::Template parsed, jinja::Template::Parse(source));
  return ChatTemplate(std::move(parsed), std::move(options));
}

Result<ChatTemplate> ChatTemplate::Builtin(std::string_view name, ChatTemplateOptions options) {
  std::vector<std::string_view> names;
  for (const BuiltinChatTemplate& builtin : BuiltinChatTemplates()) {
    if (builtin.name == name) return Compile(builtin.source, std::move(options));
    names.push_back(builtin.name);
  }
  return Status::NotFound(
      fmt::format("no chat template named '{}'; there are {}", name, Join(names)));
}

Result<jinja::Rendered> ChatTemplate::Render(const ChatRequest& request,
                                             const Json& messages) const {
  Json context = request.extra != nullptr ? *request.extra : Json::object();
  if (!context.is_object()) return Status::InvalidArgument("template variables must be an object");
  context["messages"] = messages;
  context["tools"] = request.tools != nullptr ? *request.tools : Json(nullptr);
  context["add_generation_prompt"] = request.add_generation_prompt;
  context["bos_token"] = options_.bos_text;
  context["eos_token"] = options_.eos_text;
  return template_.Render(context, ChatRenderOptions(options_.limits, request.now));
}

Result<jinja::Rendered> ChatTemplate::Apply(const ChatRequest& request) const {
  if (!request.messages.is_array()) return Status::InvalidArgument("messages must be an array");
  Json messages = request.messages;
  for (size_t i = 0; i < messages.size(); ++i) {
    KVASIR_RETURN_IF_ERROR(ShapeMessage(messages[i], i, capabilities_));
  }
  return Render(request, messages);
}

void ChatTemplate::Probe() {
  // The needle must arrive without the JSON or Python spelling of a list around it.
  const auto writes = [this](const Json& messages, const Json* tools, std::string_view needle) {
    const auto out = Render({.messages = messages, .tools = tools, .now = 0}, messages);
    return out.ok() && out->text().find(needle) != std::string::npos;
  };
  const auto is_dumped = [this](const Json& messages) {
    const auto out = Render({.messages = messages, .now = 0}, messages);
    return out.ok() && (out->text().find("'type'") != std::string::npos ||
                        out->text().find("\"type\"") != std::string::npos);
  };
  const Json text = Json::array({Message("user", kNeedle)});
  const Json typed = Json::array({Message("user", AsParts(kNeedle))});
  capabilities_.string_content = writes(text, nullptr, kNeedle);
  capabilities_.typed_content = writes(typed, nullptr, kNeedle) && !is_dumped(typed);
  const bool as_parts = !capabilities_.string_content && capabilities_.typed_content;
  const auto content = [&](std::string_view words) {
    return as_parts ? AsParts(words) : Json(words);
  };

  capabilities_.system_role =
      writes(Json::array({Message("system", content(kNeedle)), Message("user", content("hello"))}),
             nullptr, kNeedle);
  const Json tools = ProbeTools();
  capabilities_.tools = writes(Json::array({Message("user", content("hello"))}), &tools, kNeedle);

  const std::string arguments = R"({"city": "Oslo"})";
  const auto calls = [&](const Json& value, std::string_view needle) {
    return writes(ToolCallTurn(value, content("")), nullptr, needle) ||
           writes(ToolCallTurn(value, nullptr), nullptr, needle);
  };
  const bool from_text = calls(arguments, arguments);
  const bool from_object = calls(Json::parse(arguments), kNeedle);
  capabilities_.tool_calls = from_text || from_object;
  capabilities_.object_arguments = from_object && !from_text;

  if (!options_.bos_text.empty()) {
    const auto out = Render({.messages = text, .now = 0}, text);
    capabilities_.writes_bos = out.ok() && out->text().starts_with(options_.bos_text);
  }
}

}  // namespace kvasir
