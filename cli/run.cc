#include <fmt/core.h>

#include <cstdio>

#include "cli/chat.h"
#include "cli/command.h"
#include "cli/generate.h"
#include "cli/input.h"
#include "cli/interrupt.h"

namespace kvasir::cli {
namespace {

constexpr std::string_view kSummary = "continue a prompt; the generated text alone is on stdout";

Status Complete(const GenerateArgs& args, bool p_given) {
  KVASIR_ASSIGN_OR_RETURN(const GenerateOptions options,
                          ResolveGeneration(args.sampling, args.prompt));
  KVASIR_ASSIGN_OR_RETURN(const std::string prompt, ReadPrompt(args.prompt, p_given));
  KVASIR_ASSIGN_OR_RETURN(const auto engine, LoadEngine(args.model, args.context, args.kv));
  KVASIR_ASSIGN_OR_RETURN(const auto session, engine->NewSession());

  InterruptScope interrupt;
  if (args.prompt.display_prompt) fmt::print("{}", prompt);
  KVASIR_ASSIGN_OR_RETURN(const GenerateResult result,
                          GenerateToStdout(*engine, *session, engine->Tokenize(prompt), options));
  fmt::print("\n");
  std::fflush(stdout);
  PrintTimings(result);
  if (args.model.verbose || args.kv.memory > 0) PrintMemory(*engine);
  if (result.finish != FinishReason::kCancelled) return Status::Ok();
  return Status::Cancelled(fmt::format("after {} tokens", result.tokens.size()));
}

Status Run(std::span<const std::string> words) {
  GenerateArgs args;
  ArgTable table = GenerateTable("run", std::string(kSummary), args);
  KVASIR_ASSIGN_OR_RETURN(const bool go_on, ParseOrHelp(table, words));
  if (!go_on) return Status::Ok();
  return args.chat.conversation ? Chat(args) : Complete(args, table.Given("-p"));
}

}  // namespace

const Command& run_command() {
  static constexpr Command command = {"run", kSummary, Run};
  return command;
}

}  // namespace kvasir::cli
