#include "kvasir/model/conversation.h"

#include <algorithm>
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

void Conversation::DropTurns(int64_t n) {
  const auto is_user = [](const Message& message) { return message.role == "user"; };
  const auto first = std::ranges::find_if(messages_, is_user);
  auto end = first;
  for (; n > 0 && end != messages_.end(); --n) {
    end = std::find_if(end + 1, messages_.end(), is_user);
  }
  messages_.erase(first, end);
}

std::vector<int64_t> Conversation::TurnStarts(std::span<const TokenId> prompt) const {
  std::vector<int64_t> starts;
  for (size_t i = 0; i < messages_.size(); ++i) {
    if (messages_[i].role != "user") continue;
    const auto before = i == 0 ? Result<std::vector<TokenId>>(std::vector<TokenId>())
                               : RenderFirst(i, /*add_generation_prompt=*/false);
    if (!before.ok()) continue;
    const auto [at, unused] = std::ranges::mismatch(prompt, *before);
    const int64_t start = at - prompt.begin();
    if (starts.empty() || start > starts.back()) starts.push_back(start);
  }
  // A first token that begins every text, such as BOS, is no part of a turn.
  if (!starts.empty() && starts.front() == 0 && !prompt.empty() &&
      prompt[0] == model_->tokenizer->bos()) {
    starts.front() = 1;
  }
  return starts;
}

Result<std::vector<TokenId>> Conversation::Prompt() const {
  return RenderFirst(messages_.size(), /*add_generation_prompt=*/true);
}

Result<std::vector<TokenId>> Conversation::RenderFirst(size_t n, bool add_generation_prompt) const {
  auto messages = nlohmann::ordered_json::array();
  for (const Message& message : std::span(messages_).first(n)) {
    messages.push_back({{"role", message.role}, {"content", message.text}});
  }
  return Render(messages, add_generation_prompt);
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
