#include "kvasir/measure/tasks/dialogue.h"

#include <fmt/format.h>

#include <algorithm>

#include "kvasir/measure/tasks/transcript.h"

namespace kvasir {
namespace {

size_t SharedPrefix(std::span<const TokenId> a, std::span<const TokenId> b) {
  return static_cast<size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first -
                             a.begin());
}

// What of `tokens` follows the `text` that its token at `from` begins with; nothing where a token
// crosses the end of `text` or spells something else.
std::optional<std::span<const TokenId>> After(std::span<const TokenId> tokens, size_t from,
                                              std::string_view text, const Tokenizer& tokenizer) {
  while (!text.empty()) {
    if (from == tokens.size()) return std::nullopt;
    const std::string bytes = tokenizer.TokenBytes(tokens[from++]);
    if (bytes.empty() || !text.starts_with(bytes)) return std::nullopt;
    text.remove_prefix(bytes.size());
  }
  return tokens.subspan(from);
}

}  // namespace

Result<TaskDialogue> TaskDialogue::Create(const Model& model) {
  TaskDialogue dialogue(model);
  if (model.chat_template.empty()) return dialogue;
  Result<ChatTemplate> chat_template =
      ChatTemplate::Compile(model.chat_template, ChatTextsOf(*model.tokenizer));
  if (!chat_template.ok()) return std::move(chat_template).status().WithContext("chat template");
  dialogue.empty_chat_.emplace(model, std::move(chat_template).value());
  return dialogue;
}

std::vector<TokenId> TaskDialogue::Encode(std::string_view text, bool at_start) const {
  const Tokenizer& tokenizer = *model_->tokenizer;
  return tokenizer.Encode(text, {.add_bos = at_start && tokenizer.add_bos_by_default()});
}

Conversation TaskDialogue::Chat(std::string_view context, std::span<const Exchange> past) const {
  Conversation chat = *empty_chat_;
  for (size_t i = 0; i < past.size(); ++i) {
    chat.Add("user", i == 0 ? FirstMessage(context, past[i].question) : past[i].question);
    chat.Add("assistant", past[i].reply);
  }
  return chat;
}

Result<TaskDialogue::Opening> TaskDialogue::Open(std::string_view context,
                                                 std::string_view question) const {
  if (!empty_chat_) {
    Opening opening{.tokens = Encode(context, /*at_start=*/true), .n_context = 0};
    opening.n_context = opening.tokens.size();
    const auto asked = Encode(PlainQuestion(question), /*at_start=*/false);
    opening.tokens.insert(opening.tokens.end(), asked.begin(), asked.end());
    return opening;
  }
  // A question that begins otherwise shows where the context's tokens end.
  const std::string_view other = question.starts_with('#') ? "+" : "#";
  Conversation chat = *empty_chat_;
  chat.Add("user", FirstMessage(context, other));
  KVASIR_ASSIGN_OR_RETURN(const std::vector<TokenId> other_tokens, chat.Prompt());
  chat.RemoveLast();
  chat.Add("user", FirstMessage(context, question));
  KVASIR_ASSIGN_OR_RETURN(std::vector<TokenId> tokens, chat.Prompt());
  const size_t n_context = SharedPrefix(tokens, other_tokens);
  return Opening{std::move(tokens), n_context};
}

Result<std::vector<TokenId>> TaskDialogue::Continue(std::string_view context,
                                                    std::span<const Exchange> past,
                                                    std::span<const TokenId> held,
                                                    std::string_view question) const {
  std::vector<TokenId> tokens(held.begin(), held.end());
  if (!empty_chat_) {
    const auto asked = Encode(PlainQuestion(question), /*at_start=*/false);
    tokens.insert(tokens.end(), asked.begin(), asked.end());
    return tokens;
  }
  Conversation chat = Chat(context, past);
  chat.RemoveLast();
  KVASIR_ASSIGN_OR_RETURN(const std::vector<TokenId> before, chat.Prompt());
  chat.Add("assistant", past.back().reply);
  chat.Add("user", std::string(question));
  KVASIR_ASSIGN_OR_RETURN(std::vector<TokenId> all, chat.Prompt());
  // The reply was generated token by token: its text may be cut in other ways here.
  const size_t n_shared = SharedPrefix(before, all);
  const auto rest = n_shared == before.size()
                        ? After(all, n_shared, past.back().reply, *model_->tokenizer)
                        : std::nullopt;
  if (!rest) return all;
  tokens.insert(tokens.end(), rest->begin(), rest->end());
  return tokens;
}

Result<int64_t> TaskDialogue::CountAll(const TaskCase& task_case) const {
  if (!empty_chat_) {
    return static_cast<int64_t>(Encode(PlainTranscript(task_case), /*at_start=*/true).size());
  }
  std::vector<Exchange> exchanges;
  for (const TaskTurn& turn : task_case.turns) exchanges.push_back({turn.question, turn.answer});
  KVASIR_ASSIGN_OR_RETURN(const auto tokens, Chat(task_case.context, exchanges).Prompt());
  return static_cast<int64_t>(tokens.size());
}

std::vector<std::string> TaskDialogue::stops() const {
  return empty_chat_ ? std::vector<std::string>{} : std::vector<std::string>{"\n"};
}

}  // namespace kvasir
