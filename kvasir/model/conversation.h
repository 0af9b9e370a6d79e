// The messages of a chat and their prompt by a chat template.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
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

  // Ids of the whole conversation, ready for the assistant's answer. Words of the messages never
  // become control tokens. Errors: of ChatTemplate::Apply.
  Result<std::vector<TokenId>> Prompt() const;

  // Ids of messages from elsewhere: an array of {"role", "content", ...}.
  Result<std::vector<TokenId>> Render(const nlohmann::ordered_json& messages,
                                      bool add_generation_prompt) const;

 private:
  struct Message {
    std::string role;
    std::string text;
  };

  const Model* model_;
  std::shared_ptr<const ChatTemplate> template_;  // copies share it
  std::vector<Message> messages_;
};

}  // namespace kvasir
