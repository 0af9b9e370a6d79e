// The messages of a chat and their prompt by a chat template.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kvasir/model/chat_template.h"
#include "kvasir/model/model.h"
#include "kvasir/status.h"

namespace kvasir {

// What a template may write of a model's control tokens.
ChatTemplateOptions ChatTextsOf(const Tokenizer& tokenizer);

class Conversation {
 public:
  // `model` must outlive the object.
  Conversation(const Model& model, ChatTemplate chat_template)
      : model_(&model), template_(std::make_shared<const ChatTemplate>(std::move(chat_template))) {}

  void Add(std::string_view role, std::string text);
  void RemoveLast() { messages_.pop_back(); }
  // Forgets all but the system prompt.
  void Clear();

  // Forgets the first n turns after the system prompt: messages from one of the user to the next.
  void DropTurns(int64_t n);

  // Where in `prompt`, which is Prompt(), the turns begin: ascending. What stands before the first
  // belongs to none. Turns that the template does not write one after the other count as one.
  std::vector<int64_t> TurnStarts(std::span<const TokenId> prompt) const;

  // Ids of the whole conversation, ready for the assistant's answer. Words of the messages never
  // become control tokens. Errors: of ChatTemplate::Apply.
  Result<std::vector<TokenId>> Prompt() const;

  // Ids of messages from elsewhere: an array of {"role", "content", ...}.
  Result<std::vector<TokenId>> Render(const nlohmann::ordered_json& messages,
                                      bool add_generation_prompt) const;

 private:
  // Ids of the first n messages. Errors: of ChatTemplate::Apply.
  Result<std::vector<TokenId>> RenderFirst(size_t n, bool add_generation_prompt) const;

  struct Message {
    std::string role;
    std::string text;
  };

  const Model* model_;
  std::shared_ptr<const ChatTemplate> template_;  // copies share it
  std::vector<Message> messages_;
};

}  // namespace kvasir
