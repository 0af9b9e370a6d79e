#include "cli/chat.h"

#include <fmt/core.h>
#include <unistd.h>

#include <cstdio>

#include "cli/command.h"
#include "cli/conversation.h"
#include "cli/input.h"
#include "cli/interrupt.h"

namespace kvasir::cli {
namespace {

constexpr std::string_view kSummary = "talk with a model in turns, by its chat template";

// What one command line holds on to between turns.
struct ChatState {
  const Engine& engine;
  Session& session;
  Conversation& conversation;
  GenerateOptions options;
  bool verbose;
};

// One message and its answer. The message is forgotten again unless it was answered.
Status TakeTurn(ChatState& chat, std::string message) {
  chat.conversation.Add("user", std::move(message));
  Result<std::vector<TokenId>> prompt = chat.conversation.Prompt();
  if (prompt.ok()) chat.options.turns = chat.conversation.TurnStarts(*prompt);
  Result<GenerateResult> result =
      prompt.ok() ? GenerateToStdout(chat.engine, chat.session, *prompt, chat.options)
                  : Result<GenerateResult>(std::move(prompt).status());
  if (!result.ok()) {
    chat.conversation.RemoveLast();
    return std::move(result).status();
  }
  fmt::print("\n");
  std::fflush(stdout);
  if (chat.verbose) PrintTimings(*result);
  if (result->finish == FinishReason::kContextFull) {
    fmt::print(stderr, "the context is full ({} tokens); /clear starts over\n",
               chat.engine.options().n_ctx);
  }
  chat.conversation.Add("assistant", result->text);
  if (result->n_turns_dropped > 0) {
    chat.conversation.DropTurns(result->n_turns_dropped);
    if (!chat.verbose) fmt::print(stderr, "cache: {}\n", result->cache_note);
  }
  ++chat.options.sampling.seed;  // the next turn draws anew
  return Status::Ok();
}

Status Converse(ChatState& chat, std::string first) {
  const bool interactive = isatty(STDIN_FILENO) == 1;
  LineReader reader(STDIN_FILENO);
  InterruptScope interrupt;
  std::string line = std::move(first);
  for (;;) {
    if (line == "/exit") return Status::Ok();
    if (line == "/clear") {
      chat.conversation.Clear();
      chat.session.Clear();
    } else if (!line.empty()) {
      Status status = TakeTurn(chat, std::move(line));
      InterruptScope::Clear();
      if (!status.ok() && !interactive) return status;
      if (!status.ok()) fmt::print(stderr, "{}\n", status.ToString());
    }
    if (interactive) fmt::print(stderr, "> ");
    if (reader.Next(&line) != LineReader::Outcome::kLine) {
      if (interactive) fmt::print(stderr, "\n");
      return Status::Ok();
    }
  }
}

// What the user says before anything is typed: the file of -f, the text of -p, or the one and then
// the other. Empty where there is neither.
Result<std::string> FirstMessage(const PromptArgs& args) {
  const std::string text = args.escape ? ProcessEscapes(args.prompt) : args.prompt;
  if (args.file.empty()) return text;
  KVASIR_ASSIGN_OR_RETURN(std::string document, ReadPrompt({.file = args.file}, false));
  if (!text.empty()) document += "\n\n" + text;
  return document;
}

Status Run(std::span<const std::string> words) {
  GenerateArgs args;
  ArgTable table = GenerateTable("chat", std::string(kSummary), args);
  KVASIR_ASSIGN_OR_RETURN(const bool go_on, ParseOrHelp(table, words));
  return go_on ? Chat(args) : Status::Ok();
}

}  // namespace

Status Chat(const GenerateArgs& args) {
  KVASIR_ASSIGN_OR_RETURN(const GenerateOptions options,
                          ResolveGeneration(args.sampling, args.prompt));
  KVASIR_ASSIGN_OR_RETURN(std::string first, FirstMessage(args.prompt));
  KVASIR_ASSIGN_OR_RETURN(const auto engine,
                          LoadEngine(args.model, args.context, args.kv, /*has_turns=*/true));
  KVASIR_ASSIGN_OR_RETURN(Conversation conversation, OpenConversation(engine->model(), args.chat));
  KVASIR_ASSIGN_OR_RETURN(const auto session, engine->NewSession());
  ChatState chat{*engine, *session, conversation, options, args.model.verbose};
  return Converse(chat, std::move(first));
}

const Command& chat_command() {
  static constexpr Command command = {"chat", kSummary, Run};
  return command;
}

}  // namespace kvasir::cli
