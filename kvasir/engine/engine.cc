#include "kvasir/engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <mutex>
#include <new>
#include <optional>

#include "kvasir/cache/positions.h"
#include "kvasir/core/isa.h"
#include "kvasir/engine/runtime.h"
#include "kvasir/model/forward.h"
#include "kvasir/model/sampler.h"
#include "kvasir/model/stop_strings.h"
#include "kvasir/model/striped_weights.h"
#include "kvasir/policy/policy_run.h"

namespace kvasir {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

Status CheckRange(const char* option, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return Status::Ok();
  return Status::InvalidArgument(
      fmt::format("{}: expected {} to {}, found {}", option, low, high, value));
}

Status CheckIds(std::string_view what, std::span<const TokenId> ids, int32_t n_vocab) {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= 0 && ids[i] < n_vocab) continue;
    return Status::InvalidArgument(
        fmt::format("{} at index {}: expected 0 to {}, found {}", what, i, n_vocab - 1, ids[i]));
  }
  return Status::Ok();
}

// The standard library throws when the system refuses memory; callers of the engine get a Status.
template <typename F>
auto WithoutExceptions(const F& run) -> decltype(run()) {
  try {
    return run();
  } catch (const std::bad_alloc&) {
    return Status::OutOfMemory("the system refused memory");
  }
}

// What sessions share.
struct Shared {
  Shared(EngineOptions options, std::shared_ptr<const Model> model)
      : options(std::move(options)),
        model(std::move(model)),
        ledger(this->options.memory_limit),
        arena(ledger, ByteKind::kKv),
        team(this->options.n_thread) {}

  EngineOptions options;
  std::shared_ptr<const Model> model;
  ByteLedger ledger;
  ByteCharge weights, process;
  SlabArena arena;
  ThreadTeam team;
  std::mutex turn;  // one session computes at a time
  std::unique_ptr<ForwardPass> forward;
  std::shared_ptr<const KvPolicy> policy;
  ReplayQuestion replay_question;
};

class SessionImpl final : public Session {
 public:
  explicit SessionImpl(std::shared_ptr<Shared> shared) : shared_(std::move(shared)) { Clear(); }

  Result<GenerateResult> Generate(
      std::span<const TokenId> prompt, const GenerateOptions& options,
      const std::function<bool(const GeneratedToken&)>& on_token) override;
  Status Logits(std::span<const TokenId> tokens, const LogitsSink& sink) override;
  Result<std::unique_ptr<Session>> Fork() const override;

  std::span<const TokenId> tokens() const override { return tokens_; }
  int64_t kv_bytes() const override { return cache_->bytes(); }
  void Clear() override;

 private:
  Result<GenerateResult> Continue(std::span<const TokenId> prompt, const GenerateOptions& options,
                                  const std::function<bool(const GeneratedToken&)>& on_token);
  Status AllLogits(std::span<const TokenId> tokens, const LogitsSink& sink);
  Status CheckTokens(std::span<const TokenId> tokens) const;
  // Drops all but the longest usable prefix of the prompt, and says what that was.
  Status Rewind(GenerateResult* result);
  // Runs the prompt from the held length on, chunk by chunk; leaves the last logits in logits_.
  Status Prefill(const GenerateOptions& options);
  // Refuses a prompt that cannot fit the byte limit before any of it is computed.
  Status Admit(int64_t n_prompt) const;
  // Evicts by the recipe's overflow rule until a chunk of n tokens fits.
  Status EnsureRoom(int64_t n_token);
  bool HasRoom(int64_t n_token) const;
  // Whether dropping would lead further: angles close ranks, and they are at the limit.
  bool ContextFull(int64_t n_token) const;
  // Takes the conversation in hand, without the oldest turns that a full context leaves no room
  // for.
  Status BeginTurns(std::span<const TokenId> prompt, const GenerateOptions& options);
  // Drops the oldest turn from the prompt; false when it is the last.
  //   from_cache  and from what is held. Else the turns behind it are computed anew: where angles
  //   do
  //               not close ranks, positions behind a hole lead no further
  Result<bool> DropTurn(std::string_view reason, bool from_cache);
  // Position of the held token that is `i`-th, or would be next.
  int32_t PositionOf(size_t i) const { return i == 0 ? 0 : pos_[static_cast<int64_t>(i) - 1] + 1; }
  Status Feed(RunPhase phase, std::span<const TokenId> chunk, bool last, LogitsWanted wanted,
              const LogitsSink& sink);
  // Notes tokens that the cache has taken.
  void Hold(std::span<const TokenId> chunk);
  LogitsSink KeepLast();
  Status Decode(const GenerateOptions& options,
                const std::function<bool(const GeneratedToken&)>& on_token, Sampler& sampler,
                GenerateResult* result);

  std::shared_ptr<Shared> shared_;
  std::unique_ptr<SequenceCache> cache_;
  std::unique_ptr<PolicyRun> run_;  // null when the policy has nothing to do
  std::vector<TokenId> tokens_;
  Positions pos_;  // of tokens_: with holes where turns were dropped
  std::vector<float> logits_;

  // Of the call under way.
  std::vector<TokenId> prompt_;  // without dropped turns
  std::vector<int64_t> turns_;   // where they begin in prompt_, and then in tokens_
  int64_t n_turns_dropped_ = 0, n_tokens_dropped_ = 0;
  std::string drop_reason_;
};

void SessionImpl::Clear() {
  const KvPolicy& policy = *shared_->policy;
  tokens_.clear();
  pos_ = {};
  cache_ = std::make_unique<SequenceCache>(CacheShapeOf(shared_->model->spec), policy.k_format(),
                                           policy.v_format(), shared_->arena);
  if (policy.is_passive()) return;
  ForwardPass* forward = shared_->forward.get();
  run_ = std::make_unique<PolicyRun>(
      shared_->policy, RunResources{.team = &shared_->team,
                                    .workspace = &forward->workspace(),
                                    .ledger = &shared_->ledger,
                                    .rope = [forward](int layer) { return &forward->rope(layer); },
                                    .replay_question = shared_->replay_question});
}

Result<std::unique_ptr<Session>> SessionImpl::Fork() const {
  return WithoutExceptions([&]() -> Result<std::unique_ptr<Session>> {
    std::lock_guard turn(shared_->turn);
    auto fork = std::make_unique<SessionImpl>(shared_);
    KVASIR_ASSIGN_OR_RETURN(fork->cache_, cache_->Fork());
    if (run_ != nullptr) {
      KVASIR_ASSIGN_OR_RETURN(fork->run_, run_->Fork());
    }
    fork->tokens_ = tokens_;
    fork->pos_ = pos_;
    return std::unique_ptr<Session>(std::move(fork));
  });
}

Status SessionImpl::CheckTokens(std::span<const TokenId> tokens) const {
  const int32_t n_vocab = shared_->model->spec.n_vocab;
  if (tokens.empty()) return Status::InvalidArgument("prompt: expected at least one token");
  KVASIR_RETURN_IF_ERROR(CheckIds("prompt: token", tokens, n_vocab));
  const int64_t n_ctx = shared_->options.n_ctx;
  const KvPolicy& policy = *shared_->policy;
  if (static_cast<int64_t>(tokens.size()) > n_ctx && !policy.renumbers() && !policy.drops_turns()) {
    return Status::InvalidArgument(
        fmt::format("prompt has {} tokens, the context (n_ctx) holds {}", tokens.size(), n_ctx));
  }
  return Status::Ok();
}

Status SessionImpl::BeginTurns(std::span<const TokenId> prompt, const GenerateOptions& options) {
  prompt_.assign(prompt.begin(), prompt.end());
  turns_.clear();
  n_turns_dropped_ = n_tokens_dropped_ = 0;
  drop_reason_.clear();
  if (!shared_->policy->drops_turns()) return Status::Ok();
  const auto n_prompt = static_cast<int64_t>(prompt.size());
  for (size_t i = 0; i < options.turns.size(); ++i) {
    const int64_t low = i == 0 ? 0 : options.turns[i - 1] + 1;
    KVASIR_RETURN_IF_ERROR(
        CheckRange(fmt::format("turns: entry {}", i).c_str(), options.turns[i], low, n_prompt - 1));
  }
  turns_ = options.turns;
  const int64_t n_ctx = shared_->options.n_ctx;
  const int64_t answer =
      std::min(options.n_predict >= 0 ? options.n_predict : n_ctx / 8, n_ctx / 4);
  while (static_cast<int64_t>(prompt_.size()) + answer > n_ctx) {
    KVASIR_ASSIGN_OR_RETURN(const bool dropped,
                            DropTurn(fmt::format("the context (n_ctx) holds {} tokens", n_ctx),
                                     shared_->policy->renumbers()));
    if (!dropped) break;
  }
  if (static_cast<int64_t>(prompt_.size()) <= n_ctx) return Status::Ok();
  return Status::InvalidArgument(
      fmt::format("prompt has {} tokens, the context (n_ctx) holds {}, and no turn is left that "
                  "could be dropped",
                  prompt_.size(), n_ctx));
}

Result<bool> SessionImpl::DropTurn(std::string_view reason, bool from_cache) {
  if (turns_.size() < 2) return false;
  // What the session holds of the turn, if what it holds is this conversation.
  const int64_t begin = turns_[0];
  const int64_t end = std::min(turns_[1], static_cast<int64_t>(tokens_.size()));
  if (from_cache && begin < end &&
      std::equal(tokens_.begin(), tokens_.begin() + end, prompt_.begin())) {
    KVASIR_RETURN_IF_ERROR(run_->Forget(PositionOf(static_cast<size_t>(begin)),
                                        PositionOf(static_cast<size_t>(end)), *cache_));
    tokens_.erase(tokens_.begin() + begin, tokens_.begin() + end);
    Positions left;
    for (int64_t i = 0; i < pos_.size(); ++i) {
      if (i < begin || i >= end) left.Append(pos_[i]);
    }
    pos_ = std::move(left);
  }
  prompt_.erase(prompt_.begin() + turns_[0], prompt_.begin() + turns_[1]);
  const int64_t n = turns_[1] - turns_[0];
  turns_.erase(turns_.begin() + 1);
  for (size_t i = 1; i < turns_.size(); ++i) turns_[i] -= n;
  ++n_turns_dropped_;
  n_tokens_dropped_ += n;
  drop_reason_ = reason;
  return true;
}

Status SessionImpl::Rewind(GenerateResult* result) {
  const std::vector<TokenId>& prompt = prompt_;
  const size_t limit = std::min(tokens_.size(), prompt.size() - 1);  // the last token gives logits
  size_t shared = 0;
  while (shared < limit && tokens_[shared] == prompt[shared]) ++shared;
  if (shared > 0 && PositionOf(shared) < cache_->rewind_floor()) {
    result->cache_note = fmt::format(
        "{} tokens shared, 0 reused: sliding-window layers keep no tokens to rewind below {}",
        shared, cache_->rewind_floor());
    shared = 0;
  }
  if (run_ != nullptr && shared > 0 && PositionOf(shared) < run_->rewind_floor()) {
    result->cache_note = fmt::format(
        "{} tokens shared, 0 reused: what is kept was chosen when {} tokens were known (kv {})",
        shared, run_->rewind_floor(), shared_->policy->recipe().ToString());
    shared = 0;
  }
  // Positions behind the hole of a dropped turn lead no further than the context.
  if (PositionOf(shared) + static_cast<int64_t>(prompt.size() - shared) > shared_->options.n_ctx &&
      !shared_->policy->renumbers()) {
    while (PositionOf(shared) > static_cast<int32_t>(shared)) --shared;
  }
  const int32_t pos = PositionOf(shared);
  KVASIR_RETURN_IF_ERROR(cache_->Truncate(pos));
  if (run_ != nullptr) run_->Truncate(*cache_, pos);
  tokens_.resize(shared);
  pos_.Truncate(static_cast<int64_t>(shared));
  result->n_prompt = static_cast<int64_t>(prompt.size());
  result->n_cached = static_cast<int64_t>(shared);
  return Status::Ok();
}

Status SessionImpl::Admit(int64_t n_prompt) const {
  const KvPolicy& policy = *shared_->policy;
  if (shared_->ledger.limit() == 0) return Status::Ok();
  KVASIR_RETURN_IF_ERROR(
      shared_->forward->Reserve(std::min<int64_t>(n_prompt, shared_->options.n_ubatch)));
  if (policy.makes_room()) return Status::Ok();
  const int64_t needed = policy.forecast_bytes(n_prompt, shared_->options.n_ubatch) +
                         policy.prefill_scratch_bytes(n_prompt) * shared_->team.size() -
                         cache_->bytes();
  if (needed <= shared_->ledger.available()) return Status::Ok();
  return Status::OutOfMemory(fmt::format(
      "a prompt of {} tokens needs {} of KV with --kv {}; {} of {} are free ({}). A smaller format "
      "(--kv int4h), a hard cap (--kv keydiff:1024) or overflow=stream may fit",
      n_prompt, FormatBytes(needed), policy.recipe().ToString(),
      FormatBytes(shared_->ledger.available()), FormatBytes(shared_->ledger.limit()),
      shared_->ledger.Describe()));
}

bool SessionImpl::ContextFull(int64_t n_token) const {
  return shared_->policy->renumbers() && cache_->next_angle() + n_token > shared_->options.n_ctx;
}

bool SessionImpl::HasRoom(int64_t n_token) const {
  if (ContextFull(n_token)) return false;
  const KvPolicy& policy = *shared_->policy;
  return shared_->ledger.limit() == 0 ||
         shared_->ledger.available() >=
             policy.forecast_bytes(n_token, n_token) + RoomSlack(shared_->ledger.limit());
}

Status SessionImpl::EnsureRoom(int64_t n_token) {
  if (!shared_->policy->makes_room() || tokens_.empty()) return Status::Ok();
  if (shared_->policy->drops_turns()) {
    while (!HasRoom(n_token)) {
      KVASIR_ASSIGN_OR_RETURN(
          const bool dropped,
          DropTurn(ContextFull(n_token)
                       ? fmt::format("the context (n_ctx) holds {} tokens", shared_->options.n_ctx)
                       : fmt::format("{} may be held", FormatBytes(shared_->ledger.limit())),
                   /*from_cache=*/true));
      if (!dropped) break;  // what is left may still fit; else the refusal has both numbers
    }
    return Status::Ok();
  }
  for (int round = 0; !HasRoom(n_token) && round < 8; ++round) {
    KVASIR_ASSIGN_OR_RETURN(const bool gave, run_->MakeRoom(*cache_));
    if (!gave) break;  // the tokens may fit all the same
  }
  return Status::Ok();
}

LogitsSink SessionImpl::KeepLast() {
  return [this](int64_t, int64_t n, const float* logits) {
    const int64_t n_vocab = shared_->model->spec.n_vocab;
    logits_.assign(logits + (n - 1) * n_vocab, logits + n * n_vocab);
    return Status::Ok();
  };
}

void SessionImpl::Hold(std::span<const TokenId> chunk) {
  tokens_.insert(tokens_.end(), chunk.begin(), chunk.end());
  const auto n = static_cast<int32_t>(chunk.size());
  for (int32_t i = 0; i < n; ++i) pos_.Append(cache_->n_pos() - n + i);
}

Status SessionImpl::Feed(RunPhase phase, std::span<const TokenId> chunk, bool last,
                         LogitsWanted wanted, const LogitsSink& sink) {
  if (run_ == nullptr) {
    KVASIR_RETURN_IF_ERROR(shared_->forward->Run(chunk, *cache_, wanted, sink));
    Hold(chunk);
    return Status::Ok();
  }
  if (tokens_.empty()) KVASIR_RETURN_IF_ERROR(run_->Attach(*cache_));
  run_->BeginChunk(phase, chunk, last);
  const int32_t n_before = cache_->n_pos();
  const Status status = shared_->forward->Run(chunk, *cache_, wanted, sink, run_.get());
  if (cache_->n_pos() > n_before) {
    Hold(chunk);
    if (run_->wants_replay()) {
      KVASIR_RETURN_IF_ERROR(run_->Replay(tokens_, *shared_->forward, *cache_));
    }
    KVASIR_RETURN_IF_ERROR(run_->EndChunk(*cache_));
  } else if (run_->rewind_floor() > cache_->n_pos()) {
    Clear();  // layers were cut for tokens that are not there
  } else {
    run_->Truncate(*cache_, cache_->n_pos());
  }
  return status;
}

Status SessionImpl::Prefill(const GenerateOptions& options) {
  const std::vector<TokenId>& prompt = prompt_;
  const auto report = [&] {
    if (options.prefill_progress) {
      options.prefill_progress(static_cast<int64_t>(tokens_.size()),
                               static_cast<int64_t>(prompt.size()));
    }
  };
  report();
  while (tokens_.size() < prompt.size()) {
    if (options.cancelled && options.cancelled()) {
      return Status::Cancelled(
          fmt::format("after {} of {} prompt tokens", tokens_.size(), prompt.size()));
    }
    const auto n_ubatch = static_cast<size_t>(shared_->options.n_ubatch);
    KVASIR_RETURN_IF_ERROR(
        EnsureRoom(static_cast<int64_t>(std::min(prompt.size() - tokens_.size(), n_ubatch))));
    const size_t n = std::min(prompt.size() - tokens_.size(), n_ubatch);
    const bool last = tokens_.size() + n == prompt.size();
    KVASIR_RETURN_IF_ERROR(Feed(RunPhase::kPrefill, std::span(prompt).subspan(tokens_.size(), n),
                                last, last ? LogitsWanted::kLast : LogitsWanted::kNone,
                                KeepLast()));
    report();
  }
  return Status::Ok();
}

Status SessionImpl::Decode(const GenerateOptions& options,
                           const std::function<bool(const GeneratedToken&)>& on_token,
                           Sampler& sampler, GenerateResult* result) {
  const Tokenizer& tokenizer = *shared_->model->tokenizer;
  const bool at_start = std::all_of(tokens_.begin(), tokens_.end(),
                                    [&](TokenId id) { return tokenizer.TokenBytes(id).empty(); });
  StreamingDetokenizer detokenizer(tokenizer, /*show_special=*/false, at_start);
  StopMatcher stop(options.stop);
  const auto emit = [&](GeneratedToken& token, std::string text) {
    result->text += text;
    token.text = text;
    if (!on_token || on_token(token)) return true;
    result->finish = FinishReason::kCancelled;
    return false;
  };
  const auto enough = [&] {
    return options.n_predict >= 0 &&
           static_cast<int64_t>(result->tokens.size()) >= options.n_predict;
  };
  GeneratedToken token;
  result->finish = FinishReason::kLength;
  while (!enough()) {
    if (options.cancelled && options.cancelled()) {
      result->finish = FinishReason::kCancelled;
      break;
    }
    KVASIR_ASSIGN_OR_RETURN(token.id, sampler.Sample(logits_));
    if (!options.ignore_eos && tokenizer.IsEndOfGeneration(token.id)) {
      result->finish = FinishReason::kEndOfText;
      break;
    }
    sampler.Accept(token.id);
    result->tokens.push_back(token.id);
    if (options.n_logprobs > 0) {
      kvasir::Logprobs logprobs = ComputeLogprobs(logits_, token.id, options.n_logprobs);
      token.logprob = logprobs.chosen.logprob;
      token.logprobs = std::move(logprobs.top);
    }
    std::string text = stop.Push(detokenizer.Push(token.id));
    if (stop.stopped()) {
      result->finish = FinishReason::kStopString;
      result->stop_string = stop.matched();
      emit(token, std::move(text));
      return Status::Ok();
    }
    if (!emit(token, std::move(text))) break;
    if (enough()) break;  // nobody asks what would follow
    KVASIR_RETURN_IF_ERROR(EnsureRoom(1));
    if (cache_->next_angle() >= shared_->options.n_ctx) {
      result->finish = FinishReason::kContextFull;
      break;
    }
    KVASIR_RETURN_IF_ERROR(Feed(RunPhase::kDecode, std::span(&token.id, 1), /*last=*/false,
                                LogitsWanted::kLast, KeepLast()));
    ++result->n_decoded;
  }
  std::string rest = stop.Push(detokenizer.Finish());
  if (!stop.stopped()) rest += stop.Finish();
  token = {};
  if (!rest.empty()) emit(token, std::move(rest));
  return Status::Ok();
}

Result<GenerateResult> SessionImpl::Generate(
    std::span<const TokenId> prompt, const GenerateOptions& options,
    const std::function<bool(const GeneratedToken&)>& on_token) {
  return WithoutExceptions([&] { return Continue(prompt, options, on_token); });
}

Result<GenerateResult> SessionImpl::Continue(
    std::span<const TokenId> prompt, const GenerateOptions& options,
    const std::function<bool(const GeneratedToken&)>& on_token) {
  KVASIR_RETURN_IF_ERROR(CheckTokens(prompt));
  const int32_t n_vocab = shared_->model->spec.n_vocab;
  KVASIR_RETURN_IF_ERROR(CheckSamplerOptions(options.sampling, n_vocab));
  std::lock_guard turn(shared_->turn);
  GenerateResult result;
  KVASIR_RETURN_IF_ERROR(BeginTurns(prompt, options));
  KVASIR_RETURN_IF_ERROR(Rewind(&result));
  KVASIR_RETURN_IF_ERROR(Admit(static_cast<int64_t>(prompt_.size())));
  Sampler sampler(options.sampling, n_vocab);
  for (TokenId id : prompt) sampler.Accept(id);
  auto start = Clock::now();
  const TokenReads before = shared_->forward->workspace().prefill_reads();
  KVASIR_RETURN_IF_ERROR(Prefill(options));
  result.prefill_share = shared_->forward->workspace().prefill_reads().Since(before).share();
  result.prefill_seconds = SecondsSince(start);
  start = Clock::now();
  KVASIR_RETURN_IF_ERROR(Decode(options, on_token, sampler, &result));
  result.decode_seconds = SecondsSince(start);
  result.kv_bytes = cache_->bytes();
  result.n_turns_dropped = n_turns_dropped_;
  if (n_turns_dropped_ > 0) {
    result.cache_note +=
        fmt::format("{}the oldest {} of the conversation ({} tokens) went: {}",
                    result.cache_note.empty() ? "" : "; ",
                    n_turns_dropped_ == 1 ? "turn" : fmt::format("{} turns", n_turns_dropped_),
                    n_tokens_dropped_, drop_reason_);
  }
  return result;
}

Status SessionImpl::Logits(std::span<const TokenId> tokens, const LogitsSink& sink) {
  return WithoutExceptions([&] { return AllLogits(tokens, sink); });
}

Status SessionImpl::AllLogits(std::span<const TokenId> tokens, const LogitsSink& sink) {
  KVASIR_RETURN_IF_ERROR(CheckTokens(tokens));
  std::lock_guard turn(shared_->turn);
  Clear();
  while (tokens_.size() < tokens.size()) {
    const size_t first = tokens_.size();
    const auto chunk = tokens.subspan(
        first, std::min(tokens.size() - first, static_cast<size_t>(shared_->options.n_ubatch)));
    KVASIR_RETURN_IF_ERROR(EnsureRoom(static_cast<int64_t>(chunk.size())));
    KVASIR_RETURN_IF_ERROR(Feed(RunPhase::kPrefill, chunk, first + chunk.size() == tokens.size(),
                                LogitsWanted::kAll,
                                [&](int64_t begin, int64_t n, const float* logits) {
                                  return sink(static_cast<int64_t>(first) + begin, n, logits);
                                }));
  }
  return Status::Ok();
}

class EngineImpl final : public Engine {
 public:
  explicit EngineImpl(std::shared_ptr<Shared> shared) : shared_(std::move(shared)) {}

  Result<std::unique_ptr<Session>> NewSession() override {
    return std::unique_ptr<Session>(std::make_unique<SessionImpl>(shared_));
  }
  std::vector<TokenId> Tokenize(std::string_view text, bool parse_special) const override {
    const Tokenizer& tokenizer = *shared_->model->tokenizer;
    return tokenizer.Encode(
        text, {.add_bos = tokenizer.add_bos_by_default(), .parse_special = parse_special});
  }
  Result<std::string> Detokenize(std::span<const TokenId> tokens) const override;
  const EngineOptions& options() const override { return shared_->options; }
  const Model& model() const override { return *shared_->model; }
  int32_t n_vocab() const override { return shared_->model->spec.n_vocab; }
  std::string DescribeMemory() const override { return shared_->ledger.Describe(); }
  int64_t bytes_held() const override { return shared_->ledger.held(); }
  int64_t bytes_peak() const override { return shared_->ledger.peak(); }

 private:
  std::shared_ptr<Shared> shared_;
};

Result<std::string> EngineImpl::Detokenize(std::span<const TokenId> tokens) const {
  const Tokenizer& tokenizer = *shared_->model->tokenizer;
  KVASIR_RETURN_IF_ERROR(CheckIds("token", tokens, std::max(n_vocab(), tokenizer.n_vocab())));
  // Rows that pad the model's matrices have no text.
  std::vector<TokenId> spelled(tokens.begin(), tokens.end());
  std::erase_if(spelled, [&](TokenId id) { return id >= tokenizer.n_vocab(); });
  return tokenizer.Decode(spelled);
}

// What recipes ask of the model. The functions borrow `shared`.
PolicyTarget TargetOf(Shared& shared) {
  const Model& model = *shared.model;
  PolicyTarget target;
  target.shape = CacheShapeOf(model.spec);
  target.is_special = [&model](TokenId id) { return model.tokenizer->TokenBytes(id).empty(); };
  target.fingerprint = ModelFingerprint(model);
  target.has_turns = shared.options.has_turns;
  target.n_embd = model.spec.n_embd;
  target.output_rows = [&shared](int layer, int64_t first, int64_t n, float* rows) {
    shared.forward->OutputRows(layer, first, n, rows);
  };
  target.probe_heads = [&shared, is_special = target.is_special] {
    // Enough for a repeat to lie far back; longer ones cost more than they tell.
    constexpr int32_t kPeriod = 512;
    return ProbeHeads(*shared.forward, shared.arena,
                      {.period = kPeriod, .text = {}, .is_special = is_special});
  };
  return target;
}

Result<std::shared_ptr<Engine>> LoadEngine(EngineOptions options) {
  KVASIR_RETURN_IF_ERROR(CheckIsaSetting());
  KVASIR_RETURN_IF_ERROR(CheckRange("threads", options.n_thread, 0, 1024));
  KVASIR_RETURN_IF_ERROR(CheckRange("ubatch-size", options.n_ubatch, 1, 65536));
  KVASIR_RETURN_IF_ERROR(CheckRange("ctx-size", options.n_ctx, 0, INT32_MAX));
  KVASIR_ASSIGN_OR_RETURN(const Recipe recipe,
                          Recipe::ParseWithTypes(options.kv, options.type_k, options.type_v));
  KVASIR_ASSIGN_OR_RETURN(std::shared_ptr<const Model> model,
                          LoadModel(options.model_path, {.progress = options.progress}));
  if (options.n_ctx == 0) options.n_ctx = model->spec.n_ctx_train;
  auto shared = std::make_shared<Shared>(options, std::move(model));
  shared->options.n_thread = shared->team.size();
  if (shared->team.size() < options.n_thread) {
    return Status::OutOfMemory(fmt::format("threads: expected {}, the system gave {}",
                                           options.n_thread, shared->team.size()));
  }
  KVASIR_ASSIGN_OR_RETURN(shared->weights,
                          ByteCharge::Take(shared->ledger, ByteKind::kWeights,
                                           StripedWeights::WeightBytes(*shared->model)));
  KVASIR_ASSIGN_OR_RETURN(shared->process, ByteCharge::Take(shared->ledger, ByteKind::kOther,
                                                            ProcessBytesBeside(*shared->model)));
  KVASIR_ASSIGN_OR_RETURN(shared->forward,
                          ForwardPass::Create(shared->model, options.n_ctx, options.n_ubatch,
                                              shared->team, shared->ledger));
  KVASIR_ASSIGN_OR_RETURN(shared->policy, KvPolicy::Compile(recipe, TargetOf(*shared)));
  shared->replay_question = MakeReplayQuestion(*shared->model->tokenizer);
  return std::shared_ptr<Engine>(std::make_shared<EngineImpl>(std::move(shared)));
}

}  // namespace

std::string_view FinishReasonName(FinishReason reason) {
  switch (reason) {
    case FinishReason::kEndOfText:
    case FinishReason::kStopString: return "stop";
    case FinishReason::kLength: return "length";
    case FinishReason::kContextFull: return "context_full";
    case FinishReason::kCancelled: return "cancelled";
  }
  return "unknown";
}

Result<std::shared_ptr<Engine>> Engine::Load(const EngineOptions& options) {
  return WithoutExceptions([&] { return LoadEngine(options); });
}

}  // namespace kvasir
