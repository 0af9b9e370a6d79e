// Chat messages to a prompt, by the Jinja template that a model ships or by a built-in one.
#pragma once

#include <ctime>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "kvasir/model/jinja/template.h"
#include "kvasir/status.h"

namespace kvasir {

// What a template was seen to do with probe conversations when it was compiled.
struct ChatCapabilities {
  bool system_role = false;       // a system message reaches the prompt
  bool tools = false;             // the tools list reaches the prompt
  bool tool_calls = false;        // calls made by the assistant reach the prompt
  bool object_arguments = false;  // calls need their arguments as an object, not as JSON text
  bool string_content = false;    // content may be a string
  bool typed_content = false;     // content may be a list of {"type": "text", "text": ...}
  bool writes_bos = false;        // the prompt begins with bos_text: the tokenizer must not add it
};

struct ChatTemplateOptions {
  std::string bos_text = {};  // as the vocabulary spells them; "" when there is none
  std::string eos_text = {};
  jinja::Limits limits = {};
};

struct ChatRequest {
  const nlohmann::ordered_json& messages;         // array of {"role", "content", ...}
  const nlohmann::ordered_json* tools = nullptr;  // array, or null
  bool add_generation_prompt = true;
  const nlohmann::ordered_json* extra = nullptr;  // object of further template variables, or null
  std::optional<std::time_t> now = {};            // else the clock
};

// Immutable; safe to share between threads.
class ChatTemplate {
 public:
  // `source` is Jinja, as in tokenizer.chat_template. Errors as jinja::Template::Parse; an empty
  // source is kUnsupported: the model has no template, and guessing one would only look right.
  static Result<ChatTemplate> Compile(std::string_view source, ChatTemplateOptions options);
  // One of BuiltinChatTemplates(). Errors: kNotFound lists the names.
  static Result<ChatTemplate> Builtin(std::string_view name, ChatTemplateOptions options);

  // The prompt of a conversation. Words of the request are marked as input; bos_text, eos_text and
  // the usual role names count as the template's own. Content and tool-call arguments are turned
  // into the shape that the template takes: lists of text parts are joined where it wants a string.
  // Errors: kInvalidArgument names the message that is malformed, or gives the template's own
  // complaint; kUnsupported names a content part that is not text, for a template of strings.
  Result<jinja::Rendered> Apply(const ChatRequest& request) const;

  const ChatCapabilities& capabilities() const { return capabilities_; }

 private:
  ChatTemplate(jinja::Template parsed, ChatTemplateOptions options);
  Result<jinja::Rendered> Render(const ChatRequest& request,
                                 const nlohmann::ordered_json& messages) const;
  void Probe();

  jinja::Template template_;
  ChatTemplateOptions options_;
  ChatCapabilities capabilities_;
};

struct BuiltinChatTemplate {
  std::string_view name;
  std::string_view source;
};
// chatml, llama2, llama3, gemma, phi3, mistral.
std::span<const BuiltinChatTemplate> BuiltinChatTemplates();

// Variables that Render gets from `request` beside its messages, and which of them it trusts: for
// programs that hold a whole context, as the test data does.
jinja::RenderOptions ChatRenderOptions(const jinja::Limits& limits, std::optional<std::time_t> now);

}  // namespace kvasir
