#include "cli/generate.h"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "cli/interrupt.h"
#include "cli/progress.h"
#include "kvasir/core/byte_ledger.h"
#include "kvasir/core/isa.h"
#include "kvasir/core/process_memory.h"
#include "kvasir/model/model.h"
#include "kvasir/policy/recipe.h"

namespace kvasir::cli {
namespace {

std::string ShowLogprob(const Model& model, TokenId id, float logprob) {
  return fmt::format("{:.4f} {} '{}'", logprob, id, model.tokenizer->text(id));
}

void PrintLogprobs(const Model& model, const GeneratedToken& token) {
  std::string line = ShowLogprob(model, token.id, token.logprob);
  for (const TokenLogprob& other : token.logprobs) {
    line += " | " + ShowLogprob(model, other.id, other.logprob);
  }
  fmt::print(stderr, "logprob {}\n", line);
}

std::string ShowBytes(int64_t bytes) { return fmt::format("{} ({})", FormatBytes(bytes), bytes); }

double Rate(int64_t n, double seconds) {
  return seconds > 0 ? static_cast<double>(n) / seconds : 0.0;
}

// The recipe, with -khad and -vhad in it.
Status ResolveCache(const KvArgs& kv, EngineOptions* options) {
  options->kv = kv.recipe;
  options->type_k = kv.type_k;
  options->type_v = kv.type_v;
  if (!kv.hadamard_k && !kv.hadamard_v) return Status::Ok();
  KVASIR_ASSIGN_OR_RETURN(Recipe recipe, Recipe::ParseWithTypes(kv.recipe, kv.type_k, kv.type_v));
  if (kv.hadamard_k) KVASIR_RETURN_IF_ERROR(recipe.AddHadamard(PartKind::kCodecK, "-khad"));
  if (kv.hadamard_v) KVASIR_RETURN_IF_ERROR(recipe.AddHadamard(PartKind::kCodecV, "-vhad"));
  options->kv = recipe.ToString();
  options->type_k = options->type_v = "f16";
  return Status::Ok();
}

}  // namespace

ArgTable GenerateTable(std::string command, std::string summary, GenerateArgs& args) {
  ArgTable table(std::move(command), std::move(summary));
  table.Add("model", ModelOptions(args.model));
  table.Add("prompt", PromptOptions(args.prompt));
  table.Add("conversation", ChatOptions(args.chat));
  table.Add("context", ContextOptions(args.context));
  table.Add("cache", KvOptions(args.kv));
  table.Add("sampling", SamplingOptions(args.sampling));
  table.Add("accepted from llama.cpp's command lines", CompatibilityOptions());
  return table;
}

Result<std::shared_ptr<Engine>> LoadEngine(const ModelArgs& model, const ContextArgs& context,
                                           const KvArgs& kv, bool has_turns) {
  if (model.model.empty()) return Status::InvalidArgument("-m: expected the path of a model");
  EngineOptions options;
  options.model_path = model.model;
  options.n_thread = std::max(model.n_thread, 0);
  options.n_ctx = context.n_ctx;
  options.n_ubatch = context.n_ubatch;
  KVASIR_RETURN_IF_ERROR(ResolveCache(kv, &options));
  options.has_turns = has_turns;
  options.memory_limit = kv.memory;
  ProgressBar bar("load", ProgressUnit::kBytes);
  options.progress = [&bar](uint64_t done, uint64_t total) { bar.Update(done, total); };
  Result<std::shared_ptr<Engine>> loaded = Engine::Load(options);
  if (loaded.status().code() == StatusCode::kOutOfMemory && kv.memory > 0) {
    return std::move(loaded).status().WithContext("--mem");
  }
  KVASIR_ASSIGN_OR_RETURN(std::shared_ptr<Engine> engine, std::move(loaded));
  if (model.verbose) {
    const EngineOptions& resolved = engine->options();
    fmt::print(stderr, "{} ({}, {}), {} threads, {}, context {}, cache {}/{}\n", model.model,
               engine->model().spec.architecture, engine->model().file_kind, resolved.n_thread,
               IsaName(ActiveIsa()), resolved.n_ctx, resolved.type_k, resolved.type_v);
  }
  return engine;
}

Result<GenerateOptions> ResolveGeneration(const SamplingArgs& sampling, const PromptArgs& prompt) {
  GenerateOptions options;
  KVASIR_ASSIGN_OR_RETURN(options.sampling, ResolveSampling(sampling));
  options.n_predict = prompt.n_predict;
  options.stop = prompt.stop;
  options.ignore_eos = sampling.ignore_eos;
  options.n_logprobs = sampling.n_logprobs;
  options.cancelled = InterruptScope::requested;
  return options;
}

Result<GenerateResult> GenerateToStdout(const Engine& engine, Session& session,
                                        std::span<const TokenId> prompt, GenerateOptions options) {
  ProgressBar bar("prefill", ProgressUnit::kTokens);
  int64_t n_cached = -1;
  options.prefill_progress = [&](int64_t done, int64_t total) {
    // The first report is what the cache already held; speed counts from there.
    if (n_cached < 0) n_cached = done;
    bar.Update(static_cast<uint64_t>(done - n_cached), static_cast<uint64_t>(total - n_cached));
  };
  Status written;
  const auto show = [&](const GeneratedToken& token) {
    std::fwrite(token.text.data(), 1, token.text.size(), stdout);
    if (std::fflush(stdout) != 0) {
      written = Status::IoError(fmt::format("stdout: {}", std::strerror(errno)));
      return false;
    }
    if (options.n_logprobs > 0 && token.id >= 0) PrintLogprobs(engine.model(), token);
    return true;
  };
  KVASIR_ASSIGN_OR_RETURN(GenerateResult result, session.Generate(prompt, options, show));
  KVASIR_RETURN_IF_ERROR(std::move(written));
  return result;
}

void PrintTimings(const GenerateResult& result) {
  const int64_t n_computed = result.n_prompt - result.n_cached;
  const auto n_token = static_cast<int64_t>(result.tokens.size());
  fmt::print(stderr, "prompt {} tokens, {} from the cache, {:.2f} s, {:.1f} tokens/s\n",
             result.n_prompt, result.n_cached, result.prefill_seconds,
             Rate(n_computed, result.prefill_seconds));
  fmt::print(stderr, "decode {} tokens, {:.2f} s, {:.1f} tokens/s; ended by {}\n", n_token,
             result.decode_seconds, Rate(result.n_decoded, result.decode_seconds),
             FinishReasonName(result.finish));
  if (result.prefill_share < 1) {
    fmt::print(stderr, "prompt attention read {:.1f} % of the tokens that it may leave out\n",
               100 * result.prefill_share);
  }
  fmt::print(stderr, "kv {}\n", FormatBytes(result.kv_bytes));
  if (!result.cache_note.empty()) fmt::print(stderr, "cache: {}\n", result.cache_note);
}

void PrintMemory(const Engine& engine) {
  const Result<ProcessMemory> process = ReadProcessMemory();
  const int64_t limit = engine.options().memory_limit;
  fmt::print(stderr, "peak: resident {}, accounted {}, limit {}\n",
             process.ok() ? ShowBytes(process->peak) : "unknown", ShowBytes(engine.bytes_peak()),
             limit > 0 ? ShowBytes(limit) : "none");
  fmt::print(stderr, "memory: {}\n", engine.DescribeMemory());
}

}  // namespace kvasir::cli
