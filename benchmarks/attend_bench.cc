// Attention over one layer's cache. Decode: one token against n held ones, in GB/s of keys and
// values beside plain reads of as many bytes in turn, so that both meet the same machine. Prefill:
// a chunk of tokens behind a depth, in GFLOP/s of the products that the mask lets through. Figures
// are those of the fastest iteration, which a shared machine disturbs least; layers rotate so that
// caches stay cold. KVASIR_ISA picks the variant. Results are checked against the scalar one first.
#include <benchmark/benchmark.h>
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "kvasir/cache/sequence_cache.h"
#include "kvasir/core/isa.h"
#include "kvasir/core/thread_team.h"

namespace kvasir {
namespace {

constexpr int kHeads = 32, kKvHeads = 8, kHeadDim = 64;
constexpr int kKvFloats = kKvHeads * kHeadDim, kQFloats = kHeads * kHeadDim;
constexpr int64_t kColdBytes = int64_t{192} << 20;
constexpr int kChunk = 512;

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::vector<float> RandomFloats(int64_t n, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<size_t>(n));
  for (float& v : x) v = normal(random);
  return x;
}

// Plain loads over memory on huge pages.
class Reader {
 public:
  Reader() {
    void* p = mmap(nullptr, kColdBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) std::abort();
    madvise(p, kColdBytes, MADV_HUGEPAGE);
    std::memset(p, 1, kColdBytes);
    data_ = static_cast<const std::byte*>(p);
  }
  // Seconds of reading `bytes`.
  double Run(int64_t bytes, ThreadTeam& team) {
    constexpr int64_t kSlice = 64 << 10;
    const int64_t n_slice = kColdBytes / kSlice;
    const double start = Now();
    team.Run(bytes / kSlice, [&](int64_t task, int) {
      const auto* words =
          reinterpret_cast<const uint64_t*>(data_ + (next_ + task) % n_slice * kSlice);
      uint64_t sum[8] = {};
      for (size_t i = 0; i < kSlice / sizeof(uint64_t); i += 8) {
        for (size_t j = 0; j < 8; ++j) sum[j] ^= words[i + j];
      }
      for (uint64_t& s : sum) benchmark::DoNotOptimize(s);
    });
    next_ += bytes / kSlice;
    return Now() - start;
  }

 private:
  const std::byte* data_;
  int64_t next_ = 0;
};

// Layers that all hold `depth` random tokens, filled in chunks as a prefill does.
class Cache {
 public:
  Cache(TileFormat format, int64_t depth, int n_layer, int n_thread)
      : shape_{n_layer, kHeads, kKvHeads, kHeadDim, {}},
        team(n_thread),
        arena_(ledger_, ByteKind::kKv),
        workspace_(*AttendWorkspace::Create(shape_, n_thread, ledger_)),
        cache_(shape_, format, format, arena_),
        q_(RandomFloats(int64_t{kChunk} * kQFloats, 1)),
        k_(RandomFloats(int64_t{kChunk} * kKvFloats, 2)),
        v_(RandomFloats(int64_t{kChunk} * kKvFloats, 3)),
        out_(q_.size()) {
    for (int64_t n = 0; n < depth; n += kChunk) {
      for (int layer = 0; layer < n_layer; ++layer)
        Append(layer, n, std::min<int64_t>(kChunk, depth - n));
    }
  }

  void Append(int layer, int64_t first, int64_t n) {
    SetPositions(first, n);
    if (!cache_.Append(layer, pos_, k_.data(), v_.data(), team).ok()) std::abort();
  }
  void Attend(int layer, int64_t first, int64_t n) {
    SetPositions(first, n);
    LayerQueries queries;
    queries.q = q_.data();
    queries.pos = pos_;
    queries.scale = 1.0f / std::sqrt(static_cast<float>(kHeadDim));
    if (!cache_.Attend(layer, queries, team, *workspace_, out_.data()).ok()) std::abort();
  }
  void Truncate(int64_t n) {
    if (!cache_.Truncate(static_cast<int32_t>(n)).ok()) std::abort();
  }
  bool MatchesScalar(int64_t first, int64_t n) {
    Attend(0, first, n);
    const std::vector<float> out = out_;
    const Isa isa = ActiveIsa();
    ForceIsa(Isa::kScalar);
    Attend(0, first, n);
    ForceIsa(isa);
    return std::memcmp(out.data(), out_.data(), n * kQFloats * sizeof(float)) == 0;
  }

 private:
  void SetPositions(int64_t first, int64_t n) {
    pos_.resize(static_cast<size_t>(n));
    std::iota(pos_.begin(), pos_.end(), static_cast<int32_t>(first));
  }

  CacheShape shape_;
  ByteLedger ledger_;

 public:
  ThreadTeam team;

 private:
  SlabArena arena_;
  std::unique_ptr<AttendWorkspace> workspace_;
  SequenceCache cache_;
  std::vector<float> q_, k_, v_, out_;
  std::vector<int32_t> pos_;
};

int64_t TokenBytes(TileFormat format) {
  return int64_t{2} * kKvFloats * (format == TileFormat::kF16 ? 2 : 4);
}

void Decode(benchmark::State& state, TileFormat format, int64_t depth, int n_thread) {
  const int64_t bytes = depth * TokenBytes(format);
  const int n_layer = static_cast<int>(std::max<int64_t>(2, kColdBytes / bytes));
  Cache cache(format, depth, n_layer, n_thread);
  static Reader reader;
  if (depth <= 1024 && !cache.MatchesScalar(depth - 1, 1)) {
    return state.SkipWithError("differs from the scalar attention");
  }
  double best = 1e9, best_read = 1e9;
  int layer = 0;
  for (auto _ : state) {
    const double start = Now();
    cache.Attend(layer++ % n_layer, depth - 1, 1);
    best = std::min(best, Now() - start);
    state.PauseTiming();
    best_read = std::min(best_read, reader.Run(bytes, cache.team));
    state.ResumeTiming();
  }
  state.counters["us"] = best * 1e6;
  state.counters["GB/s"] = static_cast<double>(bytes) / best * 1e-9;
  state.counters["read_GB/s"] = static_cast<double>(bytes) / best_read * 1e-9;
  state.counters["share"] = best_read / best;
}

void Prefill(benchmark::State& state, TileFormat format, int64_t depth, int n_thread) {
  Cache cache(format, depth + kChunk, 1, n_thread);
  if (depth == 0 && !cache.MatchesScalar(0, kChunk)) {
    return state.SkipWithError("differs from the scalar attention");
  }
  double best = 1e9;
  for (auto _ : state) {
    const double start = Now();
    cache.Attend(0, depth, kChunk);
    best = std::min(best, Now() - start);
  }
  const double pairs = kChunk * (static_cast<double>(depth) + 0.5 * (kChunk + 1)) * kHeads;
  state.counters["GFLOP/s"] = 4.0 * kHeadDim * pairs / best * 1e-9;
}

// Tokens appended to one layer, chunks of `n` up to 4096.
void Append(benchmark::State& state, TileFormat format, int64_t n, int n_thread) {
  constexpr int64_t kTokens = 4096;
  Cache cache(format, kTokens, 1, n_thread);
  double best = 1e9;
  for (auto _ : state) {
    state.PauseTiming();
    cache.Truncate(0);
    state.ResumeTiming();
    const double start = Now();
    for (int64_t first = 0; first < kTokens; first += n) cache.Append(0, first, n);
    best = std::min(best, Now() - start);
  }
  state.counters["ns/token"] = best * 1e9 / kTokens;
}

void RegisterAll() {
  const auto add = [](const std::string& name, auto run) {
    benchmark::RegisterBenchmark(name.c_str(), run)->Unit(benchmark::kMicrosecond);
  };
  for (int n_thread : {1, 2}) {
    const std::string threads = "/threads:" + std::to_string(n_thread);
    for (TileFormat format : {TileFormat::kF16, TileFormat::kF32}) {
      const std::string name = format == TileFormat::kF16 ? "f16" : "f32";
      for (int64_t depth : {1024, 4096, 16384, 32768, 65536}) {
        add("decode/" + name + "/tokens:" + std::to_string(depth) + threads,
            [=](benchmark::State& state) { Decode(state, format, depth, n_thread); });
      }
      for (int64_t depth : {0, 1024, 4096, 16384}) {
        add("prefill/" + name + "/depth:" + std::to_string(depth) + threads,
            [=](benchmark::State& state) { Prefill(state, format, depth, n_thread); });
      }
      for (int64_t n : {int64_t{1}, int64_t{kChunk}}) {
        add("append/" + name + "/chunk:" + std::to_string(n) + threads,
            [=](benchmark::State& state) { Append(state, format, n, n_thread); });
      }
    }
  }
}

}  // namespace
}  // namespace kvasir

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  benchmark::AddCustomContext("isa", std::string(kvasir::IsaName(kvasir::ActiveIsa())));
  kvasir::RegisterAll();
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
