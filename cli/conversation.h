// The messages of a chat and their prompt by the model's chat template.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cli/common_args.h"
#include "kvasir/model/chat_template.h"
#include "kvasir/model/model.h"
#include "kvasir/status.h"

namespace kvasir::cli {

class Conversation {
 public:
  // The template is that of --chat-template-file, of --chat-template (a built-in name, or Jinja if
  // it holds a tag), or the model's own. The system prompt of `args` becomes the first message.
  // Errors: kInvalidArgument when both flags are given; kUnsupported when there is no template;
  // those of the file and of the template. `model` must outlive the object.
  static Result<Conversation> Create(const Model& model, const ChatArgs& args);

  void Add(std::string_view role, std::string text);
  void RemoveLast() { messages_.pop_back(); }
  // Forgets all but the system prompt.
  void Clear();

  // Ids of the whole conversation, ready for the assistant's answer. Words of the messages never
  // become control tokens.
  Result<std::vector<TokenId>> Prompt() const;

  // Ids of messages from elsewhere: an array of {"role", "content", ...}.
  Result<std::vector<TokenId>> Render(const nlohmann::ordered_json& messages,
                                      bool add_generation_prompt) const;

 private:
  struct Message {
    std::string role;
    std::string text;
  };

  Conversation(const Model& model, ChatTemplate chat_template)
      : model_(&model), template_(std::move(chat_template)) {}

  const Model* model_;
  ChatTemplate template_;
  std::vector<Message> messages_;
};

}  // namespace kvasir::cli
