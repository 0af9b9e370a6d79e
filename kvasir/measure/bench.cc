#include "kvasir/measure/bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <numeric>
#include <optional>
#include <random>
#include <utility>

#include "kvasir/core/thread_team.h"
#include "kvasir/measure/bandwidth.h"
#include "kvasir/measure/statistics.h"
#include "kvasir/model/forward.h"
#include "kvasir/policy/policy_run.h"

namespace kvasir {
namespace {

constexpr int64_t kRandomChunk = 512;  // tokens written at a time
// Beyond what the first generated keys reach: selectors' bounds would have to widen for those.
constexpr float kRandomRange = 8.0f;

// The token at a position: the same text whatever is measured.
TokenId TokenAt(int64_t pos, int32_t n_vocab) {
  return static_cast<TokenId>(static_cast<uint64_t>(pos) * 0x9e3779b97f4a7c15u % n_vocab);
}

bool HasWindow(const ModelSpec& spec) {
  return std::any_of(spec.window.begin(), spec.window.end(), [](int32_t w) { return w > 0; });
}

double TensorBytes(const Tensor& t) {
  return static_cast<double>(t.rows) * static_cast<double>(t.row_bytes);
}

double LayerBytes(const Weights& weights) {
  double bytes = 0;
  for (const LayerWeights& w : weights.layers) {
    for (const Tensor* t : {&w.wq, &w.wk, &w.wv, &w.wo, &w.w_gate, &w.w_up, &w.w_down}) {
      bytes += TensorBytes(*t);
    }
  }
  return bytes;
}

int64_t ChunkCount(const BenchCase& c) {
  return c.n_gen > 0 ? c.n_gen : (c.n_prompt + c.n_ubatch - 1) / c.n_ubatch;
}

class Runner {
 public:
  Runner(std::shared_ptr<const Model> model, const BenchOptions& options, ReadMeter& meter,
         int32_t n_ctx)
      : model_(std::move(model)),
        options_(options),
        meter_(meter),
        n_ctx_(n_ctx),
        arena_(ledger_, ByteKind::kKv) {}

  Result<BenchResult> Run(const BenchCase& bench_case);

 private:
  Status UseThreads(const BenchCase& bench_case);
  Status UseRecipe(const BenchCase& bench_case);
  void NewSequence();
  // Makes the sequence hold exactly the case's depth.
  Status Reach(const BenchCase& bench_case);
  // Whether a sequence can go back to where it was without a copy.
  bool Rewinds() const { return policy_->is_passive() && !HasWindow(model_->spec); }
  Status FillByPrefill(int64_t depth);
  Status FillAtRandom(int64_t depth);
  // Seconds of one run of the case; `kv_bytes` is what the cache held in the middle.
  Result<double> Repeat(const BenchCase& bench_case, double* kv_bytes);
  struct Sequence {
    std::unique_ptr<SequenceCache> cache;
    std::unique_ptr<PolicyRun> run;  // null when the policy has nothing to do
  };
  // Runs n tokens from the sequence's end on, `chunk` at a time; logits only of the last.
  Status Feed(Sequence& sequence, RunPhase phase, int64_t n, int64_t chunk,
              const std::function<void(int64_t done)>& report = {});
  Status FeedChunk(Sequence& sequence, RunPhase phase, bool last);
  void Report(std::string_view stage, int64_t done, int64_t total) const {
    if (options_.progress) options_.progress(stage, done, total);
  }

  const std::shared_ptr<const Model> model_;
  const BenchOptions& options_;
  ReadMeter& meter_;
  const int32_t n_ctx_;
  ByteLedger ledger_;
  SlabArena arena_;
  std::optional<ThreadTeam> team_;
  std::unique_ptr<ForwardPass> forward_;
  std::shared_ptr<const KvPolicy> policy_;
  std::string kv_, type_k_, type_v_;  // of policy_
  Sequence sequence_;
  std::vector<TokenId> tokens_;
};

Status Runner::UseThreads(const BenchCase& bench_case) {
  if (forward_ != nullptr && forward_->team().size() == bench_case.n_thread &&
      forward_->max_chunk() == bench_case.n_ubatch) {
    return Status::Ok();
  }
  sequence_ = {};  // its policy borrows from what goes now
  forward_.reset();
  team_.emplace(static_cast<int>(bench_case.n_thread));
  KVASIR_ASSIGN_OR_RETURN(
      forward_, ForwardPass::Create(model_, n_ctx_, static_cast<int32_t>(bench_case.n_ubatch),
                                    *team_, ledger_));
  forward_->SettleWeights();  // before what is timed
  return Status::Ok();
}

Status Runner::UseRecipe(const BenchCase& c) {
  if (policy_ != nullptr && kv_ == c.kv && type_k_ == c.type_k && type_v_ == c.type_v) {
    return Status::Ok();
  }
  KVASIR_ASSIGN_OR_RETURN(const Recipe recipe, Recipe::ParseWithTypes(c.kv, c.type_k, c.type_v));
  KVASIR_ASSIGN_OR_RETURN(
      policy_, KvPolicy::Compile(recipe, {.shape = CacheShapeOf(model_->spec), .is_special = {}}));
  kv_ = c.kv;
  type_k_ = c.type_k;
  type_v_ = c.type_v;
  sequence_ = {};
  return Status::Ok();
}

void Runner::NewSequence() {
  sequence_ = {};  // before the next takes memory
  sequence_.cache = std::make_unique<SequenceCache>(CacheShapeOf(model_->spec), policy_->k_format(),
                                                    policy_->v_format(), arena_);
  if (policy_->is_passive()) return;
  sequence_.run = std::make_unique<PolicyRun>(
      policy_, RunResources{.team = &*team_,
                            .workspace = &forward_->workspace(),
                            .ledger = &ledger_,
                            .rope = [this](int layer) { return &forward_->rope(layer); }});
}

Status Runner::FeedChunk(Sequence& sequence, RunPhase phase, bool last) {
  SequenceCache& cache = *sequence.cache;
  PolicyRun* run = sequence.run.get();
  if (run != nullptr) {
    if (cache.n_pos() == 0) KVASIR_RETURN_IF_ERROR(run->Attach(cache));
    run->BeginChunk(phase, tokens_, last && phase == RunPhase::kPrefill);
  }
  const bool wanted = last || phase == RunPhase::kDecode;
  KVASIR_RETURN_IF_ERROR(forward_->Run(
      tokens_, cache, wanted ? LogitsWanted::kLast : LogitsWanted::kNone,
      [](int64_t, int64_t, const float*) { return Status::Ok(); }, run));
  return run == nullptr ? Status::Ok() : run->EndChunk(cache);
}

Status Runner::Feed(Sequence& sequence, RunPhase phase, int64_t n, int64_t chunk,
                    const std::function<void(int64_t done)>& report) {
  for (int64_t done = 0; done < n;) {
    tokens_.resize(static_cast<size_t>(std::min(chunk, n - done)));
    for (size_t i = 0; i < tokens_.size(); ++i) {
      tokens_[i] = TokenAt(sequence.cache->n_pos() + static_cast<int64_t>(i), model_->spec.n_vocab);
    }
    done += static_cast<int64_t>(tokens_.size());
    KVASIR_RETURN_IF_ERROR(FeedChunk(sequence, phase, done == n));
    if (report) report(done);
  }
  return Status::Ok();
}

Status Runner::FillByPrefill(int64_t depth) {
  const std::string stage = fmt::format("fill {}", depth);
  const int64_t held = sequence_.cache->n_pos();
  return Feed(sequence_, RunPhase::kPrefill, depth - held, forward_->max_chunk(),
              [&](int64_t done) { Report(stage, held + done, depth); });
}

Status Runner::FillAtRandom(int64_t depth) {
  if (policy_->evicts()) {
    return Status::InvalidArgument(
        fmt::format("--fill random: {} evicts tokens by what they hold; expected --fill prefill",
                    policy_->recipe().ToString()));
  }
  SequenceCache* const cache = sequence_.cache.get();
  PolicyRun* const run = sequence_.run.get();
  const CacheShape& shape = cache->shape();
  const std::string stage = fmt::format("fill {} at random", depth);
  const int64_t row = int64_t{shape.n_kv_head} * shape.head_dim;
  std::vector<float> k(static_cast<size_t>(kRandomChunk * row)), v(k.size());
  std::minstd_rand random(static_cast<uint32_t>(cache->n_pos()) + 1);
  const auto draw = [&](std::vector<float>& values) {
    for (float& value : values) value = static_cast<float>(random()) * 0x1p-27f - kRandomRange;
  };
  while (cache->n_pos() < depth) {
    std::vector<int32_t> pos(
        static_cast<size_t>(std::min<int64_t>(kRandomChunk, depth - cache->n_pos())));
    std::iota(pos.begin(), pos.end(), cache->n_pos());
    if (run != nullptr) {
      if (pos.front() == 0) KVASIR_RETURN_IF_ERROR(run->Attach(*cache));
      run->BeginChunk(RunPhase::kPrefill, std::vector<TokenId>(pos.size(), 0), false);
    }
    for (int layer = 0; layer < shape.n_layer; ++layer) {
      draw(k);
      draw(v);
      KVASIR_RETURN_IF_ERROR(cache->Append(layer, pos, k.data(), v.data(), *team_));
    }
    cache->Advance(pos.back() + 1);
    if (run != nullptr) KVASIR_RETURN_IF_ERROR(run->EndChunk(*cache));
    Report(stage, cache->n_pos(), depth);
  }
  return Status::Ok();
}

Status Runner::Reach(const BenchCase& bench_case) {
  const auto depth = static_cast<int32_t>(bench_case.depth);
  const bool held = sequence_.cache != nullptr;
  const bool beyond = held && sequence_.cache->n_pos() > depth;
  if (!held || (beyond && !Rewinds())) NewSequence();
  if (beyond && Rewinds()) KVASIR_RETURN_IF_ERROR(sequence_.cache->Truncate(depth));
  if (sequence_.cache->n_pos() == depth) return Status::Ok();
  return options_.fill == BenchFill::kRandom ? FillAtRandom(depth) : FillByPrefill(depth);
}

Result<double> Runner::Repeat(const BenchCase& bench_case, double* kv_bytes) {
  Sequence fork;
  if (!Rewinds()) {
    KVASIR_ASSIGN_OR_RETURN(fork.cache, sequence_.cache->Fork());
    if (sequence_.run != nullptr) {
      KVASIR_ASSIGN_OR_RETURN(fork.run, sequence_.run->Fork());
    }
  }
  Sequence& sequence = Rewinds() ? sequence_ : fork;
  const bool decode = bench_case.n_gen > 0;
  // The first step of a copy pays for pages and indices that the copy has not touched.
  if (decode && !Rewinds()) KVASIR_RETURN_IF_ERROR(Feed(sequence, RunPhase::kDecode, 1, 1));
  const int64_t before = sequence.cache->bytes();
  const auto start = std::chrono::steady_clock::now();
  KVASIR_RETURN_IF_ERROR(Feed(sequence, decode ? RunPhase::kDecode : RunPhase::kPrefill,
                              bench_case.n_token(), decode ? 1 : bench_case.n_ubatch));
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  *kv_bytes = static_cast<double>(before + sequence.cache->bytes()) / 2;
  if (Rewinds()) {
    KVASIR_RETURN_IF_ERROR(sequence.cache->Truncate(static_cast<int32_t>(bench_case.depth)));
  }
  return seconds.count();
}

Result<BenchResult> Runner::Run(const BenchCase& bench_case) {
  const std::string name = BenchCaseName(bench_case);
  KVASIR_RETURN_IF_ERROR(UseThreads(bench_case));
  KVASIR_RETURN_IF_ERROR(UseRecipe(bench_case));
  KVASIR_RETURN_IF_ERROR(Reach(bench_case));
  BenchResult result;
  result.bench_case = bench_case;
  result.fill = options_.fill;

  double kv_bytes = 0;
  // The first run brings weights and scratch into memory; it is not counted.
  BenchCase warm_up = bench_case;
  warm_up.n_prompt = std::min(bench_case.n_prompt, bench_case.n_ubatch);
  warm_up.n_gen = std::min<int64_t>(bench_case.n_gen, 1);
  KVASIR_RETURN_IF_ERROR(Repeat(warm_up, &kv_bytes).status());

  std::vector<double> reads;
  AttendWorkspace& workspace = forward_->workspace();
  const TokenReads before = workspace.prefill_reads(), steps_before = workspace.step_reads();
  const int64_t total = options_.repetitions * bench_case.n_token();
  Report(name, 0, total);
  for (int i = 1; i <= options_.repetitions; ++i) {
    reads.push_back(meter_.Read(*team_));
    KVASIR_ASSIGN_OR_RETURN(const double seconds, Repeat(bench_case, &kv_bytes));
    result.seconds.push_back(seconds);
    reads.push_back(meter_.Read(*team_));
    Report(name, i * bench_case.n_token(), total);
  }
  result.kv_bytes = kv_bytes;
  result.step_share = workspace.step_reads().Since(steps_before).share();
  result.moved_bytes = MatrixBytes(*model_, bench_case) +
                       static_cast<double>(ChunkCount(bench_case)) * kv_bytes * result.step_share;
  result.read_rate = Summarize(reads).median;
  result.prefill_share = workspace.prefill_reads().Since(before).share();
  return result;
}

}  // namespace

std::string BenchCaseName(const BenchCase& c) {
  std::string name = c.n_gen > 0 ? fmt::format("tg{}", c.n_gen) : fmt::format("pp{}", c.n_prompt);
  if (c.depth > 0) name += fmt::format(" @ d{}", c.depth);
  return name;
}

std::string_view BenchFillName(BenchFill fill) {
  return fill == BenchFill::kRandom ? "random" : "prefill";
}

std::vector<BenchCase> ExpandGrid(const BenchGrid& grid) {
  std::vector<BenchCase> cases;
  BenchCase c;
  std::vector<int64_t> n_thread = grid.n_thread;
  std::replace(n_thread.begin(), n_thread.end(), int64_t{0}, int64_t{ThreadTeam::AvailableCpus()});
  const auto add = [&](int64_t n_prompt, int64_t n_gen) {
    c.n_prompt = n_prompt;
    c.n_gen = n_gen;
    if (c.n_token() > 0) cases.push_back(c);
  };
  const auto add_tests = [&] {
    for (const int64_t n : grid.n_prompt) add(n, 0);
    for (const int64_t n : grid.n_gen) add(0, n);
  };
  const auto each = [](const auto& values, auto& field, const auto& next) {
    for (const auto& value : values) {
      field = value;
      next();
    }
  };
  each(grid.kv, c.kv, [&] {
    each(grid.type_k, c.type_k, [&] {
      each(grid.type_v, c.type_v, [&] {
        each(grid.depth, c.depth, [&] {
          each(n_thread, c.n_thread, [&] { each(grid.n_ubatch, c.n_ubatch, add_tests); });
        });
      });
    });
  });
  return cases;
}

std::vector<double> BenchResult::TokenRates() const {
  std::vector<double> rates;
  for (const double s : seconds) rates.push_back(static_cast<double>(bench_case.n_token()) / s);
  return rates;
}

double BenchResult::MovedRate() const { return moved_bytes / Summarize(seconds).median; }

double MatrixBytes(const Model& model, const BenchCase& c) {
  const double n_output = c.n_gen > 0 ? static_cast<double>(c.n_gen) : 1;
  return static_cast<double>(ChunkCount(c)) * LayerBytes(model.weights) +
         n_output * TensorBytes(model.weights.output);
}

Status RunBench(std::shared_ptr<const Model> model, const std::vector<BenchCase>& cases,
                const BenchOptions& options,
                const std::function<Status(const BenchResult&)>& sink) {
  int64_t n_ctx = 0;
  for (const BenchCase& c : cases) n_ctx = std::max(n_ctx, c.depth + 1 + c.n_token());
  if (n_ctx > INT32_MAX) {
    return Status::InvalidArgument(
        fmt::format("bench: depth and tokens reach position {}, at most {}", n_ctx, INT32_MAX));
  }
  KVASIR_ASSIGN_OR_RETURN(const std::unique_ptr<ReadMeter> meter,
                          ReadMeter::Create(options.read_bytes));
  Runner runner(std::move(model), options, *meter, static_cast<int32_t>(n_ctx));
  for (const BenchCase& c : cases) {
    KVASIR_ASSIGN_OR_RETURN(const BenchResult result, runner.Run(c));
    KVASIR_RETURN_IF_ERROR(sink(result));
  }
  return Status::Ok();
}

}  // namespace kvasir
