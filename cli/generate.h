// What `run` and `chat` share: their flags, loading with a progress bar, and generation whose text
// goes to stdout while all else goes to stderr.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "cli/args.h"
#include "cli/common_args.h"
#include "kvasir/engine.h"
#include "kvasir/status.h"

namespace kvasir::cli {

struct GenerateArgs {
  ModelArgs model;
  ContextArgs context;
  KvArgs kv;
  SamplingArgs sampling;
  PromptArgs prompt;
  ChatArgs chat;
};

// The table of all of them, bound to `args`.
ArgTable GenerateTable(std::string command, std::string summary, GenerateArgs& args);

// Errors: kInvalidArgument when -m is absent; those of Engine::Load.
//   has_turns  EngineOptions::has_turns
Result<std::shared_ptr<Engine>> LoadEngine(const ModelArgs& model, const ContextArgs& context,
                                           const KvArgs& kv, bool has_turns = false);

// Everything of GenerateOptions that flags decide. Ctrl-C cancels where an InterruptScope lives.
Result<GenerateOptions> ResolveGeneration(const SamplingArgs& sampling, const PromptArgs& prompt);

// Session::Generate with a bar for the prefill and the text on stdout as it comes; with n_logprobs
// one line a token on stderr.
Result<GenerateResult> GenerateToStdout(const Engine& engine, Session& session,
                                        std::span<const TokenId> prompt, GenerateOptions options);

// Speeds, KV bytes and why the text ended, on stderr.
void PrintTimings(const GenerateResult& result);

// Largest bytes so far, of the process and of the ledger, beside the limit; and what is held now by
// kind. On stderr.
void PrintMemory(const Engine& engine);

}  // namespace kvasir::cli
