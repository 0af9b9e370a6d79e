#include "kvasir/model/conversation.h"

#include <nlohmann/json.hpp>

namespace kvasir {

ChatTemplateOptions ChatTextsOf(const Tokenizer& tokenizer) {
  ChatTemplateOptions options;
  if (tokenizer.bos() >= 0) options.bos_text = tokenizer.text(tokenizer.bos());
  if (tokenizer.eos() >= 0) options.eos_text = tokenizer.text(tokenizer.eos());
  return options;
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
      template_->Apply(
          {.messages = messages, .add_generation_prompt = add_generation_prompt, .now = {}}));
  const bool add_bos =
      model_->tokenizer->add_bos_by_default() && !template_->capabilities().writes_bos;
  return model_->tokenizer->Encode(rendered.pieces(), add_bos);
}

}  // namespace kvasir
