#include "kvasir/measure/perplexity.h"

#include <fmt/core.h>

#include "cli/command.h"
#include "cli/generate.h"
#include "cli/input.h"
#include "cli/progress.h"
#include "kvasir/model/model.h"

namespace kvasir::cli {
namespace {

constexpr std::string_view kSummary = "measure how well a model predicts a text";

struct Args {
  ModelArgs model;
  ContextArgs context{.n_ctx = 512};
  KvArgs kv;
  PromptArgs text;
  int64_t stride = 0;
  int64_t max_chunks = 0;
};

ArgTable Table(Args& args) {
  ArgTable table("perplexity", std::string(kSummary));
  table.Add("perplexity",
            {{.names = {"-f", "--file"},
              .metavar = "FILE",
              .help = "the text; without it, what stdin gives",
              .target = &args.text.file},
             {.names = {"--ppl-stride"},
              .metavar = "N",
              .help = "start chunks N tokens apart and predict the last N of each; 0 = chunks "
                      "follow each other and the second half of each is predicted",
              .target = &args.stride,
              .min = 0},
             {.names = {"--chunks"},
              .metavar = "N",
              .help = "stop after N chunks; 0 = the whole text",
              .target = &args.max_chunks,
              .min = 0}});
  table.Add("model", ModelOptions(args.model));
  table.Add("context", ContextOptions(args.context));
  table.Add("cache", KvOptions(args.kv));
  table.Add("accepted from llama.cpp's command lines", CompatibilityOptions());
  return table;
}

Status Run(std::span<const std::string> words) {
  Args args;
  ArgTable table = Table(args);
  KVASIR_ASSIGN_OR_RETURN(const bool go_on, ParseOrHelp(table, words));
  if (!go_on) return Status::Ok();
  KVASIR_ASSIGN_OR_RETURN(const std::string text, ReadPrompt(args.text, /*p_given=*/false));
  KVASIR_ASSIGN_OR_RETURN(const auto engine, LoadEngine(args.model, args.context, args.kv));
  const std::vector<TokenId> tokens = engine->Tokenize(text);
  KVASIR_ASSIGN_OR_RETURN(const auto session, engine->NewSession());

  const Tokenizer& tokenizer = *engine->model().tokenizer;
  const int64_t n_ctx = engine->options().n_ctx;
  ProgressBar bar("perplexity", ProgressUnit::kTokens);
  const PerplexityOptions options = {.n_ctx = n_ctx,
                                     .stride = args.stride,
                                     .bos = tokenizer.add_bos_by_default() ? tokenizer.bos() : -1,
                                     .max_chunks = args.max_chunks,
                                     .progress = [&](int64_t done, int64_t total, double) {
                                       bar.Update(static_cast<uint64_t>(done * n_ctx),
                                                  static_cast<uint64_t>(total * n_ctx));
                                     }};
  KVASIR_ASSIGN_OR_RETURN(const PerplexityResult result,
                          MeasurePerplexity(*session, engine->n_vocab(), tokens, options));
  fmt::print("perplexity {:.4f} ± {:.4f}\n", result.perplexity, result.standard_error);
  fmt::print("mean nll {:.6f} of {} tokens, {} chunks of {}\n", result.mean_nll, result.n_predicted,
             result.n_chunk, n_ctx);
  return Status::Ok();
}

}  // namespace

const Command& perplexity_command() {
  static constexpr Command command = {"perplexity", kSummary, Run};
  return command;
}

}  // namespace kvasir::cli
