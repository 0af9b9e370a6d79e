#include "cli/conversation.h"

#include <nlohmann/json.hpp>

#include "kvasir/core/mapped_file.h"

namespace kvasir::cli {
namespace {

ChatTemplateOptions TextsOf(const Tokenizer& tokenizer) {
  ChatTemplateOptions options;
  if (tokenizer.bos() >= 0) options.bos_text = tokenizer.text(tokenizer.bos());
  if (tokenizer.eos() >= 0) options.eos_text = tokenizer.text(tokenizer.eos());
  return options;
}

Result<ChatTemplate> ChooseTemplate(const Model& model, const ChatArgs& args) {
  const ChatTemplateOptions options = TextsOf(*model.tokenizer);
  if (!args.chat_template.empty() && !args.chat_template_file.empty()) {
    return Status::InvalidArgument(
        "chat template: expected one of --chat-template and --chat-template-file, found both");
  }
  if (!args.chat_template_file.empty()) {
    KVASIR_ASSIGN_OR_RETURN(const std::string source, ReadFile(args.chat_template_file));
    return ChatTemplate::Compile(source, options);
  }
  if (args.chat_template.empty()) return ChatTemplate::Compile(model.chat_template, options);
  const bool is_source = args.chat_template.find("{%") != std::string::npos ||
                         args.chat_template.find("{{") != std::string::npos;
  return is_source ? ChatTemplate::Compile(args.chat_template, options)
                   : ChatTemplate::Builtin(args.chat_template, options);
}

}  // namespace

Result<Conversation> Conversation::Create(const Model& model, const ChatArgs& args) {
  Result<ChatTemplate> chat_template = ChooseTemplate(model, args);
  if (!chat_template.ok()) return std::move(chat_template).status().WithContext("chat template");
  Conversation conversation(model, std::move(chat_template).value());
  if (!args.system_prompt.empty()) conversation.Add("system", args.system_prompt);
  return conversation;
}

void Conversation::Add(std::string_view role, std::string text) {
  messages_.push_back({std::string(role), std::move(text)});
}

void Conversation::Clear() {
  const bool has_system = !messages_.empty() && messages_.front().role == "system";
  messages_.resize(has_system ? 1 : 0);
}

Result<std::vector<TokenId>> Conversation::Prompt() const {
  auto messages = nlohmann::ordered_json::array();
  for (const Message& message : messages_) {
    messages.push_back({{"role", message.role}, {"content", message.text}});
  }
  return Render(messages, /*add_generation_prompt=*/true);
}

Result<std::vector<TokenId>> Conversation::Render(const nlohmann::ordered_json& messages,
                                                  bool add_generation_prompt) const {
  KVASIR_ASSIGN_OR_RETURN(
      const jinja::Rendered rendered,
      template_.Apply(
          {.messages = messages, .add_generation_prompt = add_generation_prompt, .now = {}}));
  const bool add_bos =
      model_->tokenizer->add_bos_by_default() && !template_.capabilities().writes_bos;
  return model_->tokenizer->Encode(rendered.pieces(), add_bos);
}

}  // namespace kvasir::cli
