// The public API: load a model once, open sessions on it, generate.
//
//   auto engine = kvasir::Engine::Load({.model_path = "model.gguf"});
//   auto session = (*engine)->NewSession();
//   auto result = (*session)->Generate((*engine)->Tokenize("Once upon a time"), {});
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kvasir/sampling.h"
#include "kvasir/status.h"

namespace kvasir {

struct Model;  // internal

struct EngineOptions {
  std::string model_path;  // a .gguf file (the first of a split) or an HF folder
  int32_t n_thread = 0;    // 0 = the CPUs this process may run on
  int32_t n_ctx = 0;       // positions a session may reach; 0 = what the model was trained for.
                           // A limit, not an allocation: memory follows use
  int32_t n_ubatch = 512;  // tokens of one prefill chunk; cancellation is checked between chunks
  // How the cache is kept, stored and read: a recipe, such as "exact", "q8_0" or
  // "snapkv:1024+kivi:2"; `kvasir recipes` lists them.
  std::string kv = "exact";
  // Number formats of the cache, llama.cpp's names: short for k=TYPE and v=TYPE in the recipe.
  std::string type_k = "f16";
  std::string type_v = "f16";
  // Whether prompts are conversations and tell their turns (GenerateOptions::turns): what
  // overflow=drop-turns needs.
  bool has_turns = false;
  int64_t memory_limit = 0;  // bytes over weights, cache and scratch; 0 = none
  // Load progress in bytes; may be empty.
  std::function<void(uint64_t done, uint64_t total)> progress = {};
};

struct GenerateOptions {
  int32_t n_predict = -1;  // -1 = until the model ends or the context is full
  SamplerOptions sampling = {};
  // Where in the prompt the turns of a conversation begin, ascending. Under overflow=drop-turns the
  // oldest may go, and then are no longer part of the session; what stands before the first, and
  // the newest turn, stay.
  std::vector<int64_t> turns = {};
  std::vector<std::string> stop = {};  // text that ends generation and is not part of the result
  bool ignore_eos = false;
  int32_t n_logprobs = 0;  // how many alternatives to report per token; 0 = none
  // Prompt tokens done and in all; called after every chunk. May be empty.
  std::function<void(int64_t done, int64_t total)> prefill_progress = {};
  // Asked before every chunk and token; true ends the call. May be empty.
  std::function<bool()> cancelled = {};
};

struct GeneratedToken {
  TokenId id = -1;
  std::string_view text;               // what became printable with this token; may be empty
  float logprob = 0;                   // of the model's own distribution; 0 unless n_logprobs > 0
  std::vector<TokenLogprob> logprobs;  // most likely first
};

enum class FinishReason { kEndOfText, kStopString, kLength, kContextFull, kCancelled };
std::string_view FinishReasonName(FinishReason reason);  // "stop", "length", "cancelled", ...

struct GenerateResult {
  std::string text;
  std::vector<TokenId> tokens;
  FinishReason finish = FinishReason::kLength;
  std::string stop_string;  // the one that was met
  int64_t n_prompt = 0;     // prompt tokens
  int64_t n_cached = 0;     // of these, not computed again
  double prefill_seconds = 0;
  double decode_seconds = 0;
  // Tokens that were run behind the prompt in that time: all but the last where n_predict ended
  // the call.
  int64_t n_decoded = 0;
  int64_t kv_bytes = 0;  // held by the session at the end
  // With prefill= in the recipe: of the tokens that the prompt's queries may leave out, the share
  // that they read, over all query heads; else 1.
  double prefill_share = 1;
  int64_t n_turns_dropped = 0;  // of GenerateOptions::turns, the first ones
  // Why a shorter prefix was reused than the texts share, and what was dropped; empty when nothing
  // was lost.
  std::string cache_note;
};

// One conversation: its tokens and their keys and values. Not thread-safe; sessions of one engine
// take turns on its threads.
class Session {
 public:
  virtual ~Session() = default;

  // Makes the session hold `prompt` (re-using the longest prefix it already holds) and continues
  // it. `on_token` may be empty; returning false cancels. What was computed stays cached, whatever
  // ends the call.
  // Errors: kInvalidArgument for an empty prompt, a token id out of range (named with its index),
  // a prompt that does not fit n_ctx (both numbers), or sampling options out of range;
  // kOutOfMemory when memory_limit would be passed; kCancelled when cancelled during prefill.
  virtual Result<GenerateResult> Generate(
      std::span<const TokenId> prompt, const GenerateOptions& options,
      const std::function<bool(const GeneratedToken&)>& on_token = {}) = 0;

  // Logits of every token of `tokens`, from an empty cache, in batches: (n, n_vocab) rows of tokens
  // [first, first + n). Errors as Generate.
  virtual Status Logits(
      std::span<const TokenId> tokens,
      const std::function<Status(int64_t first, int64_t n, const float* logits)>& sink) = 0;

  // A session that holds the same tokens and goes its own way; what is sealed is shared, the rest
  // copied. Errors: kOutOfMemory.
  virtual Result<std::unique_ptr<Session>> Fork() const = 0;

  virtual std::span<const TokenId> tokens() const = 0;  // held
  virtual int64_t kv_bytes() const = 0;
  virtual void Clear() = 0;
};

// Thread-safe.
class Engine {
 public:
  // Errors: kNotFound, kCorruption, kUnsupported from the model's files (the message names the
  // file and key, tensor or byte); kInvalidArgument for an option; kOutOfMemory when the weights
  // alone pass memory_limit.
  static Result<std::shared_ptr<Engine>> Load(const EngineOptions& options);
  virtual ~Engine() = default;

  virtual Result<std::unique_ptr<Session>> NewSession() = 0;

  // Text to ids, with BOS where the model wants it; control tokens are recognised only when
  // `parse_special`.
  virtual std::vector<TokenId> Tokenize(std::string_view text,
                                        bool parse_special = false) const = 0;
  virtual Result<std::string> Detokenize(std::span<const TokenId> tokens) const = 0;

  virtual const EngineOptions& options() const = 0;  // resolved: no field is 0 for "default"
  virtual const Model& model() const = 0;
  virtual int32_t n_vocab() const = 0;
  // "weights 1.2 GiB, kv 0.1 GiB, ...": every byte the engine accounts for.
  virtual std::string DescribeMemory() const = 0;
  virtual int64_t bytes_held() const = 0;
  virtual int64_t bytes_peak() const = 0;
};

}  // namespace kvasir
