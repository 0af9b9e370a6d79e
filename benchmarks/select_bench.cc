// Selectors: what choosing costs per pair and step, in time and in summary bytes, and attention
// over what was chosen beside dense attention. Lists of several pairs take turns, so that neither
// summaries nor keys stay in the caches. Figures are those of the fastest iteration, which a shared
// machine disturbs least. That summaries bound the keys is what the tests check.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "kvasir/cache/segment_list.h"
#include "kvasir/core/isa.h"
#include "kvasir/policy/selectors/registry.h"

namespace kvasir {
namespace {

constexpr int kHeadDim = 64, kGroup = 4;

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

class Pairs {
 public:
  // Empty name = no selector.
  Pairs(const std::string& name, int64_t n) : n_kv_(n), arena_(ledger_, ByteKind::kKv) {
    constexpr int64_t kKvBytes = 256 << 20;
    const int n_pair = static_cast<int>(std::clamp<int64_t>(kKvBytes / (n * kHeadDim * 4), 2, 64));
    std::mt19937 rng(1);
    std::normal_distribution<float> normal;
    std::vector<float> k(static_cast<size_t>(n) * kHeadDim);
    // Neighbours are alike, as keys of a text are.
    for (size_t i = 0; i < k.size(); ++i) {
      k[i] = i < kHeadDim ? normal(rng) : 0.9f * k[i - kHeadDim] + 0.4f * normal(rng);
    }
    std::vector<int32_t> pos(static_cast<size_t>(n));
    std::iota(pos.begin(), pos.end(), 0);
    if (!name.empty()) {
      SelectorShape shape;
      shape.n_layer = 1;
      shape.n_kv_head = n_pair;
      shape.n_head = n_pair * kGroup;
      shape.head_dim = kHeadDim;
      std::vector<std::pair<std::string, std::string>> args = {{"dense", "0"}};
      if (name == "quest") args.emplace_back("pages", "128");
      if (name != "quest") args.emplace_back("tokens", "2048");
      if (name != "quest") args.emplace_back("reuse", "1");
      selector_ = std::move(*MakeSelector(name, args, shape));
    }
    for (int i = 0; i < n_pair; ++i) {
      lists_.push_back(std::make_unique<SegmentList>(
          DenseLayout{kHeadDim, TileFormat::kF16, TileFormat::kF16}, arena_));
      ok_ &= lists_.back()->Append(pos, k.data(), k.data(), kHeadDim).ok();
      if (selector_) ok_ &= selector_->OnAppend(0, i, 0, n, k.data(), kHeadDim).ok();
    }
    q_.resize(kGroup * kHeadDim);
    for (float& x : q_) x = normal(rng) * 0.3f;
    row_pos_.assign(kGroup, static_cast<int32_t>(n));
    rows_.q = q_.data();
    rows_.pos = row_pos_.data();
    rows_.n_row = kGroup;
    rows_.head_dim = kHeadDim;
    rows_.pos_min = rows_.pos_max = row_pos_[0];
  }

  bool ok() const { return ok_; }
  double summary_bytes() const {
    return static_cast<double>(selector_->bytes()) / static_cast<double>(lists_.size());
  }
  double n_attended() const {
    double n = 0;
    for (const IndexRange& range : ranges_) n += static_cast<double>(range.end - range.begin);
    return ranges_.empty() ? static_cast<double>(n_kv_) : n;
  }
  // Seconds of one choice.
  double Select() {
    at_ = (at_ + 1) % lists_.size();
    ranges_.clear();
    const double start = Now();
    ok_ &= selector_->Select(0, static_cast<int>(at_), rows_, *lists_[at_], &ranges_).ok();
    return Now() - start;
  }
  // Seconds of attention over what was chosen, or over everything.
  double Attend() {
    if (!selector_) at_ = (at_ + 1) % lists_.size();
    const StateView states = scratch_.total_state(kGroup);
    ResetStates(states);
    const double start = Now();
    if (ranges_.empty()) ok_ &= lists_[at_]->Attend(rows_, scratch_, states).ok();
    for (const IndexRange& range : ranges_) {
      ok_ &= lists_[at_]->AttendRange(rows_, range.begin, range.end, scratch_, states).ok();
    }
    return Now() - start;
  }

 private:
  int64_t n_kv_;
  ByteLedger ledger_;
  SlabArena arena_;
  AttendScratch scratch_{kHeadDim};
  std::vector<std::unique_ptr<SegmentList>> lists_;
  std::unique_ptr<Selector> selector_;
  std::vector<float> q_;
  std::vector<int32_t> row_pos_;
  QueryRows rows_;
  std::vector<IndexRange> ranges_;
  size_t at_ = 0;
  bool ok_ = true;
};

void Run(benchmark::State& state, const std::string& name, int64_t n) {
  Pairs pairs(name, n);
  double select = 1e9, attend = 1e9;
  for (auto _ : state) {
    if (!name.empty()) select = std::min(select, pairs.Select());
    attend = std::min(attend, pairs.Attend());
  }
  if (!pairs.ok()) return state.SkipWithError("a call failed");
  const double kv_bytes = pairs.n_attended() * kHeadDim * 4;
  state.counters["attend_us"] = attend * 1e6;
  state.counters["attend_GB/s"] = kv_bytes / attend * 1e-9;
  if (name.empty()) return;
  state.counters["select_us"] = select * 1e6;
  state.counters["summary_B/token"] = pairs.summary_bytes() / static_cast<double>(n);
  // Of all summaries, whether the two levels read them or not.
  state.counters["summary_GB/s"] = pairs.summary_bytes() / select * 1e-9;
}

void RegisterAll() {
  for (int64_t n : {4096, 16384, 32768, 65536, 131072}) {
    for (const char* name : {"", "quest", "lserve", "twolevel"}) {
      const std::string label = std::string(*name == 0 ? "dense" : name) + "/" + std::to_string(n);
      benchmark::RegisterBenchmark(label.c_str(),
                                   [=](benchmark::State& state) { Run(state, name, n); })
          ->Unit(benchmark::kMicrosecond)
          ->Iterations(60);
    }
  }
}

}  // namespace
}  // namespace kvasir

int main(int argc, char** argv) {
  kvasir::RegisterAll();
  benchmark::Initialize(&argc, argv);
  benchmark::AddCustomContext("isa", std::string(kvasir::IsaName(kvasir::ActiveIsa())));
  benchmark::RunSpecifiedBenchmarks();
}
