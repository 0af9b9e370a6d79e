// Matrix products: one token (gemv) in GB/s of weights beside the machine's plain read bandwidth,
// and many tokens (gemm) in GMAC/s. Figures are those of the fastest iteration, which a shared
// machine disturbs least; weights rotate through an arena larger than the caches. KVASIR_ISA picks
// the variant. Results are checked against the scalar variant before they are timed.
#include <benchmark/benchmark.h>
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "kvasir/core/isa.h"
#include "kvasir/core/thread_team.h"
#include "kvasir/kernels/matmul.h"
#include "kvasir/kernels/weight_stripes.h"

namespace kvasir {
namespace {

constexpr size_t kArenaBytes = size_t{384} << 20;

struct Shape {
  int64_t rows;
  int64_t cols;
};
constexpr Shape kShapes[] = {{2048, 2048}, {8192, 2048}, {2048, 8192}, {32000, 2048}};
constexpr TensorType kTypes[] = {TensorType::kQ8_0, TensorType::kQ4_0, TensorType::kQ4_K,
                                 TensorType::kQ5_K, TensorType::kQ6_K, TensorType::kF16,
                                 TensorType::kBF16, TensorType::kF32};

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::byte* Aligned(std::vector<std::byte>& bytes) {
  const auto address = reinterpret_cast<uintptr_t>(bytes.data());
  return bytes.data() + (4096 - address % 4096) % 4096;
}

// Huge pages where the system gives them: with small ones the page walks of a virtual machine can
// cost plain reads and products alike a third of their speed.
std::byte* Arena() {
  static std::byte* const arena = [] {
    void* p =
        mmap(nullptr, kArenaBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) std::abort();
    madvise(p, kArenaBytes, MADV_HUGEPAGE);
    return static_cast<std::byte*>(p);
  }();
  return arena;
}

// Seconds of plain loads over `bytes` from `data`.
double ReadSeconds(const std::byte* data, size_t bytes, ThreadTeam& team) {
  constexpr size_t kSlice = 64 << 10;
  const double start = Now();
  team.Run(static_cast<int64_t>((bytes + kSlice - 1) / kSlice), [&](int64_t task, int) {
    const size_t begin = static_cast<size_t>(task) * kSlice;
    const auto* words = reinterpret_cast<const uint64_t*>(data + begin);
    const size_t n = std::min(kSlice, bytes - begin) / sizeof(uint64_t);
    uint64_t sum[8] = {};
    for (size_t i = 0; i + 8 <= n; i += 8) {
      for (size_t j = 0; j < 8; ++j) sum[j] ^= words[i + j];
    }
    for (uint64_t& s : sum) benchmark::DoNotOptimize(s);
  });
  return Now() - start;
}

std::vector<float> RandomFloats(int64_t n) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<size_t>(n));
  for (float& v : x) v = normal(random);
  return x;
}

// Copies of one matrix, back to back in the arena, in stripes where its type has them; its rows
// repeat with a period of 64.
class Weights {
 public:
  Weights(TensorType type, Shape shape) {
    w_ = {type, shape.rows, shape.cols, Arena(), RowBytes(type, static_cast<size_t>(shape.cols))};
    matrix_bytes_ = static_cast<size_t>(shape.rows) * w_.row_bytes;
    n_copy_ = kArenaBytes / matrix_bytes_;
    constexpr int64_t kPeriod = 64;
    const std::vector<float> x = RandomFloats(kPeriod * shape.cols);
    const size_t period = kPeriod * w_.row_bytes;
    std::vector<std::byte> rows(period);
    for (int64_t r = 0; r < kPeriod; ++r) {
      QuantizeRow(type, x.data() + r * shape.cols,
                  rows.data() + static_cast<size_t>(r) * w_.row_bytes, shape.cols);
    }
    std::memcpy(Arena(), rows.data(), period);
    w_.striped = HasStripes(type);
    if (w_.striped) {
      StripeRows({type, kPeriod, shape.cols, rows.data(), w_.row_bytes}, 0, kPeriod, Arena());
    }
    const size_t used = n_copy_ * matrix_bytes_;
    for (size_t at = period; at < used; at += period) {
      std::memcpy(Arena() + at, Arena(), std::min(period, used - at));
    }
  }
  Tensor Next() {
    Tensor w = w_;
    w.data = Arena() + next_++ % n_copy_ * matrix_bytes_;
    return w;
  }
  size_t bytes() const { return matrix_bytes_; }

 private:
  Tensor w_;
  size_t matrix_bytes_;
  size_t n_copy_;
  size_t next_ = 0;
};

class Product {
 public:
  Product(TensorType type, Shape shape, int64_t n_token, ThreadTeam& team)
      : weights(type, shape), n_token_(n_token), rows_(shape.rows), team_(team) {
    const std::vector<float> x = RandomFloats(n_token * shape.cols);
    prepared_.resize(PreparedBytes(type, n_token, shape.cols) + 4096);
    PrepareActivations(type, x.data(), shape.cols, n_token, shape.cols, Aligned(prepared_), team);
    y_.resize(static_cast<size_t>(n_token * shape.rows));
  }

  bool MatchesScalar() {
    Tensor part = weights.Next();
    part.rows = std::min<int64_t>(rows_, 48);
    const Isa isa = ActiveIsa();
    MatMul(part, Aligned(prepared_), n_token_, y_.data(), part.rows, team_);
    const std::vector<float> y(y_.begin(), y_.begin() + part.rows * n_token_);
    ForceIsa(Isa::kScalar);
    MatMul(part, Aligned(prepared_), n_token_, y_.data(), part.rows, team_);
    ForceIsa(isa);
    return std::memcmp(y.data(), y_.data(), y.size() * sizeof(float)) == 0;
  }

  // Seconds of one product.
  double Run() {
    const Tensor w = weights.Next();
    const double start = Now();
    MatMul(w, Aligned(prepared_), n_token_, y_.data(), rows_, team_);
    return Now() - start;
  }

  Weights weights;

 private:
  int64_t n_token_;
  int64_t rows_;
  ThreadTeam& team_;
  std::vector<std::byte> prepared_;
  std::vector<float> y_;
};

// Products and plain reads of the same bytes take turns, so that both meet the same machine.
void Gemv(benchmark::State& state, TensorType type, Shape shape, int n_thread) {
  ThreadTeam team(n_thread);
  Product product(type, shape, 1, team);
  if (!product.MatchesScalar()) return state.SkipWithError("differs from the scalar product");
  double best = 1e9, best_read = 1e9;
  for (auto _ : state) {
    best = std::min(best, product.Run());
    state.PauseTiming();
    const Tensor w = product.weights.Next();
    best_read = std::min(best_read, ReadSeconds(w.data, product.weights.bytes(), team));
    state.ResumeTiming();
  }
  const double bytes = static_cast<double>(product.weights.bytes());
  state.counters["GB/s"] = bytes / best * 1e-9;
  state.counters["read_GB/s"] = bytes / best_read * 1e-9;
  state.counters["share"] = best_read / best;
}

void Gemm(benchmark::State& state, TensorType type, Shape shape, int64_t n_token, int n_thread) {
  ThreadTeam team(n_thread);
  Product product(type, shape, n_token, team);
  if (!product.MatchesScalar()) return state.SkipWithError("differs from the scalar product");
  double best = 1e9;
  for (auto _ : state) best = std::min(best, product.Run());
  const double macs = static_cast<double>(shape.rows * shape.cols * n_token);
  state.counters["GMAC/s"] = macs / best * 1e-9;
}

// A matrix of any bytes from one half of the arena to the other, in tasks as the engine's.
void Stripe(benchmark::State& state, TensorType type, Shape shape, int n_thread) {
  constexpr int64_t kTaskRows = 8 * kStripeRows;
  ThreadTeam team(n_thread);
  Tensor w = {type, shape.rows, shape.cols, Arena(),
              RowBytes(type, static_cast<size_t>(shape.cols))};
  const size_t bytes = static_cast<size_t>(w.rows) * w.row_bytes;
  const size_t half = kArenaBytes / 2, n_copy = half / bytes;
  std::memset(Arena(), 1, kArenaBytes);
  double best = 1e9;
  size_t copy = 0;
  for (auto _ : state) {
    w.data = Arena() + copy++ % n_copy * bytes;
    std::byte* out = Arena() + (w.data - Arena()) + half;
    const double start = Now();
    team.Run((w.rows + kTaskRows - 1) / kTaskRows, [&](int64_t task, int) {
      const int64_t begin = task * kTaskRows;
      StripeRows(w, begin, std::min(w.rows, begin + kTaskRows), out);
    });
    best = std::min(best, Now() - start);
  }
  state.counters["GB/s"] = static_cast<double>(bytes) / best * 1e-9;
}

void Prepare(benchmark::State& state, TensorType type, int64_t n_token) {
  constexpr int64_t kCols = 2048;
  ThreadTeam team;
  const std::vector<float> x = RandomFloats(n_token * kCols);
  std::vector<std::byte> prepared(PreparedBytes(type, n_token, kCols) + 4096);
  double best = 1e9;
  for (auto _ : state) {
    const double start = Now();
    PrepareActivations(type, x.data(), kCols, n_token, kCols, Aligned(prepared), team);
    best = std::min(best, Now() - start);
  }
  state.counters["us/token"] = best * 1e6 / static_cast<double>(n_token);
}

void RegisterAll() {
  const auto add = [](const std::string& name, auto run) {
    benchmark::RegisterBenchmark(name.c_str(), run)->Unit(benchmark::kMicrosecond);
  };
  const int all = ThreadTeam().size();
  for (TensorType type : kTypes) {
    const std::string type_name(InfoOf(type).name);
    for (const Shape& shape : kShapes) {
      const std::string name =
          type_name + "/" + std::to_string(shape.rows) + "x" + std::to_string(shape.cols);
      for (int n_thread : {1, all}) {
        add("gemv/" + name + "/threads:" + std::to_string(n_thread),
            [=](benchmark::State& state) { Gemv(state, type, shape, n_thread); });
        if (HasStripes(type)) {
          add("stripe/" + name + "/threads:" + std::to_string(n_thread),
              [=](benchmark::State& state) { Stripe(state, type, shape, n_thread); });
        }
        if (all == 1) break;
      }
      for (int64_t n_token : {4, 32, 512}) {
        add("gemm/" + name + "/tokens:" + std::to_string(n_token),
            [=](benchmark::State& state) { Gemm(state, type, shape, n_token, all); });
      }
    }
    for (int64_t n_token : {1, 512}) {
      add("prepare/" + type_name + "/2048/tokens:" + std::to_string(n_token),
          [=](benchmark::State& state) { Prepare(state, type, n_token); });
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
