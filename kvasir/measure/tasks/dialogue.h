// A case as the token sequences of a conversation with one model.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kvasir/measure/tasks/task.h"
#include "kvasir/model/conversation.h"

namespace kvasir {

class TaskDialogue {
 public:
  // Follows the model's chat template, or the plain form where it has none. `model` must outlive
  // the object. Errors: of the template.
  static Result<TaskDialogue> Create(const Model& model);

  struct Opening {
    std::vector<TokenId> tokens;
    size_t n_context = 0;  // leading tokens that do not depend on the question
  };
  // Context and question, ready for a reply.
  Result<Opening> Open(std::string_view context, std::string_view question) const;

  // `held` is what a session holds after it has replied to the last question of `past`, which were
  // all asked in this dialogue with these replies. Returns `held` and the next question behind it.
  // Where the template spells the past in other words, the tokens begin otherwise than `held`.
  struct Exchange {
    std::string question, reply;
  };
  Result<std::vector<TokenId>> Continue(std::string_view context, std::span<const Exchange> past,
                                        std::span<const TokenId> held,
                                        std::string_view question) const;

  // Tokens of the whole conversation with perfect replies.
  Result<int64_t> CountAll(const TaskCase& task_case) const;

  // Texts that end a reply beside the model's own end of text.
  std::vector<std::string> stops() const;

 private:
  explicit TaskDialogue(const Model& model) : model_(&model) {}
  std::vector<TokenId> Encode(std::string_view text, bool at_start) const;
  Conversation Chat(std::string_view context, std::span<const Exchange> past) const;

  const Model* model_;
  std::optional<Conversation> empty_chat_;  // nothing for plain text
};

}  // namespace kvasir
