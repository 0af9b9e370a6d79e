#include "cli/conversation.h"

#include "kvasir/core/mapped_file.h"

namespace kvasir::cli {
namespace {

Result<ChatTemplate> ChooseTemplate(const Model& model, const ChatArgs& args) {
  const ChatTemplateOptions options = ChatTextsOf(*model.tokenizer);
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

Result<Conversation> OpenConversation(const Model& model, const ChatArgs& args) {
  Result<ChatTemplate> chat_template = ChooseTemplate(model, args);
  if (!chat_template.ok()) return std::move(chat_template).status().WithContext("chat template");
  Conversation conversation(model, std::move(chat_template).value());
  if (!args.system_prompt.empty()) conversation.Add("system", args.system_prompt);
  return conversation;
}

}  // namespace kvasir::cli
