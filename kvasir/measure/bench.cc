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

namespace kvasir {
namespace {

constexpr int64_t kRandomChunk = 512;  // tokens written at a time

// The token at a position: the same text whatever is measured.
TokenId TokenAt(int64_t pos, int32_t n_vocab) {
  return static_cast<TokenId>(static_cast<uint64_t>(pos) * 0x9e3779b97f4a7c15u % n_vocab);
}

bool HasWindow(const ModelSpec& spec) {
  return std::any_of(spec.window.begin(), spec.window.end(), [](int32_t w) { return w > 0; });
}

// Bytes of keys and values that a query at the end of `n_kv` tokens sees.
double VisibleKvBytes(const ModelSpec& spec, TileFormat k, TileFormat v, int64_t n_kv) {
  const int64_t token_bytes =
      spec.n_kv_head * (KTileBytes(k, spec.head_dim) + VTileBytes(v, spec.head_dim)) / kTileTokens;
  int64_t n_token = 0;
  for (int layer = 0; layer < spec.n_layer; ++layer) {
    const int64_t window = spec.window.empty() ? 0 : spec.window[layer];
    n_token += window > 0 ? std::min(window, n_kv) : n_kv;
  }
  return static_cast<double>(n_token * token_bytes);
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
  // Makes cache_ hold exactly `depth` tokens in the case's formats.
  Status Reach(const BenchCase& bench_case);
  Status FillByPrefill(int64_t depth);
  Status FillAtRandom(int64_t depth);
  Result<double> Repeat(const BenchCase& bench_case);
  // Runs n tokens from the cache's end on, `chunk` at a time; logits only of the last.
  Status Feed(SequenceCache& cache, int64_t n, int64_t chunk, bool logits,
              const std::function<void(int64_t done)>& report = {});
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
  std::unique_ptr<SequenceCache> cache_;
  std::string type_k_, type_v_;  // of cache_
  std::vector<TokenId> tokens_;
};

Status Runner::UseThreads(const BenchCase& bench_case) {
  if (forward_ != nullptr && forward_->team().size() == bench_case.n_thread &&
      forward_->max_chunk() == bench_case.n_ubatch) {
    return Status::Ok();
  }
  forward_.reset();
  team_.emplace(static_cast<int>(bench_case.n_thread));
  KVASIR_ASSIGN_OR_RETURN(
      forward_, ForwardPass::Create(model_, n_ctx_, static_cast<int32_t>(bench_case.n_ubatch),
                                    *team_, ledger_));
  return Status::Ok();
}

Status Runner::Feed(SequenceCache& cache, int64_t n, int64_t chunk, bool logits,
                    const std::function<void(int64_t done)>& report) {
  for (int64_t done = 0; done < n;) {
    tokens_.resize(static_cast<size_t>(std::min(chunk, n - done)));
    for (size_t i = 0; i < tokens_.size(); ++i) {
      tokens_[i] = TokenAt(cache.n_pos() + static_cast<int64_t>(i), model_->spec.n_vocab);
    }
    done += static_cast<int64_t>(tokens_.size());
    const bool wanted = logits && (chunk == 1 || done == n);
    KVASIR_RETURN_IF_ERROR(
        forward_->Run(tokens_, cache, wanted ? LogitsWanted::kLast : LogitsWanted::kNone,
                      [](int64_t, int64_t, const float*) { return Status::Ok(); }));
    if (report) report(done);
  }
  return Status::Ok();
}

Status Runner::FillByPrefill(int64_t depth) {
  const std::string stage = fmt::format("fill {}", depth);
  const int64_t held = cache_->n_pos();
  return Feed(*cache_, depth - held, forward_->max_chunk(), /*logits=*/false,
              [&](int64_t done) { Report(stage, held + done, depth); });
}

Status Runner::FillAtRandom(int64_t depth) {
  const CacheShape& shape = cache_->shape();
  const std::string stage = fmt::format("fill {} at random", depth);
  const int64_t row = int64_t{shape.n_kv_head} * shape.head_dim;
  std::vector<float> k(static_cast<size_t>(kRandomChunk * row)), v(k.size());
  std::minstd_rand random(static_cast<uint32_t>(cache_->n_pos()) + 1);
  const auto draw = [&](std::vector<float>& values) {
    for (float& value : values) value = static_cast<float>(random()) * 0x1p-30f - 1.0f;
  };
  while (cache_->n_pos() < depth) {
    std::vector<int32_t> pos(
        static_cast<size_t>(std::min<int64_t>(kRandomChunk, depth - cache_->n_pos())));
    std::iota(pos.begin(), pos.end(), cache_->n_pos());
    for (int layer = 0; layer < shape.n_layer; ++layer) {
      draw(k);
      draw(v);
      KVASIR_RETURN_IF_ERROR(cache_->Append(layer, pos, k.data(), v.data(), *team_));
    }
    cache_->Advance(pos.back() + 1);
    Report(stage, cache_->n_pos(), depth);
  }
  return Status::Ok();
}

Status Runner::Reach(const BenchCase& bench_case) {
  if (cache_ == nullptr || type_k_ != bench_case.type_k || type_v_ != bench_case.type_v) {
    KVASIR_ASSIGN_OR_RETURN(const TileFormat k, ParseTileFormat("-ctk", bench_case.type_k));
    KVASIR_ASSIGN_OR_RETURN(const TileFormat v, ParseTileFormat("-ctv", bench_case.type_v));
    cache_.reset();  // before the next takes memory
    cache_ = std::make_unique<SequenceCache>(CacheShapeOf(model_->spec), k, v, arena_);
    type_k_ = bench_case.type_k;
    type_v_ = bench_case.type_v;
  }
  const auto depth = static_cast<int32_t>(bench_case.depth);
  if (cache_->n_pos() > depth) {
    KVASIR_RETURN_IF_ERROR(cache_->Truncate(depth >= cache_->rewind_floor() ? depth : 0));
  }
  if (cache_->n_pos() == depth) return Status::Ok();
  return options_.fill == BenchFill::kRandom ? FillAtRandom(depth) : FillByPrefill(depth);
}

Result<double> Runner::Repeat(const BenchCase& bench_case) {
  // Layers with a window let old tokens go as they advance, so the filled cache is kept aside.
  std::unique_ptr<SequenceCache> fork;
  if (HasWindow(model_->spec)) {
    KVASIR_ASSIGN_OR_RETURN(fork, cache_->Fork());
  }
  SequenceCache& cache = fork != nullptr ? *fork : *cache_;
  const int64_t chunk = bench_case.n_gen > 0 ? 1 : bench_case.n_ubatch;
  const auto start = std::chrono::steady_clock::now();
  KVASIR_RETURN_IF_ERROR(Feed(cache, bench_case.n_token(), chunk, /*logits=*/true));
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  if (fork == nullptr) {
    KVASIR_RETURN_IF_ERROR(cache.Truncate(static_cast<int32_t>(bench_case.depth)));
  }
  return seconds.count();
}

Result<BenchResult> Runner::Run(const BenchCase& bench_case) {
  const std::string name = BenchCaseName(bench_case);
  KVASIR_RETURN_IF_ERROR(UseThreads(bench_case));
  KVASIR_RETURN_IF_ERROR(Reach(bench_case));
  BenchResult result;
  result.bench_case = bench_case;
  result.fill = options_.fill;
  result.moved_bytes = MinimalBytes(*model_, bench_case);

  // The first run brings weights and scratch into memory; it is not counted.
  BenchCase warm_up = bench_case;
  warm_up.n_prompt = std::min(bench_case.n_prompt, bench_case.n_ubatch);
  warm_up.n_gen = std::min<int64_t>(bench_case.n_gen, 1);
  KVASIR_RETURN_IF_ERROR(Repeat(warm_up).status());

  std::vector<double> reads;
  const int64_t total = options_.repetitions * bench_case.n_token();
  Report(name, 0, total);
  for (int i = 1; i <= options_.repetitions; ++i) {
    reads.push_back(meter_.Read(*team_));
    KVASIR_ASSIGN_OR_RETURN(const double seconds, Repeat(bench_case));
    result.seconds.push_back(seconds);
    reads.push_back(meter_.Read(*team_));
    Report(name, i * bench_case.n_token(), total);
  }
  result.read_rate = Summarize(reads).median;
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
  const auto add = [&](int64_t n_prompt, int64_t n_gen) {
    c.n_prompt = n_prompt;
    c.n_gen = n_gen;
    if (c.n_token() > 0) cases.push_back(c);
  };
  const auto add_tests = [&] {
    for (const int64_t n : grid.n_prompt) add(n, 0);
    for (const int64_t n : grid.n_gen) add(0, n);
  };
  for (const std::string& type_k : grid.type_k) {
    for (const std::string& type_v : grid.type_v) {
      for (const int64_t depth : grid.depth) {
        for (const int64_t n_thread : grid.n_thread) {
          for (const int64_t n_ubatch : grid.n_ubatch) {
            c.type_k = type_k;
            c.type_v = type_v;
            c.depth = depth;
            c.n_thread = n_thread > 0 ? n_thread : ThreadTeam::AvailableCpus();
            c.n_ubatch = n_ubatch;
            add_tests();
          }
        }
      }
    }
  }
  return cases;
}

std::vector<double> BenchResult::TokenRates() const {
  std::vector<double> rates;
  for (const double s : seconds) rates.push_back(static_cast<double>(bench_case.n_token()) / s);
  return rates;
}

double BenchResult::MovedRate() const { return moved_bytes / Summarize(seconds).median; }

double MinimalBytes(const Model& model, const BenchCase& c) {
  const Result<TileFormat> k = ParseTileFormat("-ctk", c.type_k);
  const Result<TileFormat> v = ParseTileFormat("-ctv", c.type_v);
  assert(k.ok() && v.ok());
  const int64_t chunk = c.n_gen > 0 ? 1 : c.n_ubatch;
  double bytes = 0;
  for (int64_t done = 0; done < c.n_token(); done += chunk) {
    const int64_t end = std::min(done + chunk, c.n_token());
    bytes += LayerBytes(model.weights) + VisibleKvBytes(model.spec, *k, *v, c.depth + end);
    if (c.n_gen > 0 || end == c.n_token()) bytes += TensorBytes(model.weights.output);
  }
  return bytes;
}

Status RunBench(std::shared_ptr<const Model> model, const std::vector<BenchCase>& cases,
                const BenchOptions& options,
                const std::function<Status(const BenchResult&)>& sink) {
  int64_t n_ctx = 0;
  for (const BenchCase& c : cases) n_ctx = std::max(n_ctx, c.depth + c.n_token());
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
