// Every codec of the table on one kv head of 128 channels.
//   attend  4 query rows over 4096 tokens, as a decode step does it; bytes/s counts encoded bytes
//   encode  keys; items/s are tokens
#include <benchmark/benchmark.h>

#include <numeric>
#include <random>

#include "kvasir/codecs/registry.h"
#include "kvasir/model/rope.h"

namespace kvasir {
namespace {

constexpr int kTokens = 4096, kDim = 128, kRows = 4;
constexpr IndexRange kAll[] = {{0, kTokens}};

struct Bench {
  Bench()
      : rope(Spec(), kTokens),
        arena(ledger, ByteKind::kKv),
        rows(kTokens * kDim),
        importance(kTokens),
        pos(kTokens) {
    std::mt19937 rng(1);
    std::normal_distribution<float> normal;
    for (float& x : rows) x = normal(rng);
    for (float& x : importance) x = normal(rng);
    std::iota(pos.begin(), pos.end(), 0);
  }
  std::shared_ptr<const CodedPart> Encode(const KvCodec& codec, KvSide side, int n) {
    CodecInput input;
    input.side = side;
    input.head_dim = kDim;
    input.pos = std::span(pos).first(n);
    input.rows = rows.data();
    input.rope = &rope;
    input.importance = std::span(importance).first(n);
    input.arena = &arena;
    return *codec.Encode(input);
  }
  static RopeSpec Spec() {
    RopeSpec spec;
    spec.n_rot = kDim;
    return spec;
  }

  Rope rope;
  ByteLedger ledger;
  SlabArena arena;
  std::vector<float> rows, importance;
  std::vector<int32_t> pos;
};

void Encode(benchmark::State& state, const CodecInfo* info) {
  Bench bench;
  const auto codec = *MakeCodec(info->name);
  constexpr int kRun = 512;
  for (auto _ : state) {
    benchmark::DoNotOptimize(bench.Encode(*codec, KvSide::kKey, kRun));
  }
  state.SetItemsProcessed(state.iterations() * kRun);
}

void Attend(benchmark::State& state, const CodecInfo* info) {
  Bench bench;
  const auto codec = *MakeCodec(info->name);
  const CodedSegment segment(kDim, Positions(bench.pos), std::string(info->name),
                             bench.Encode(*codec, KvSide::kKey, kTokens),
                             bench.Encode(*codec, KvSide::kValue, kTokens));
  const std::vector<int32_t> row_pos(kRows, kTokens);
  const QueryRows rows = {.q = bench.rows.data(),
                          .pos = row_pos.data(),
                          .n_row = kRows,
                          .head_dim = kDim,
                          .pos_min = kTokens,
                          .pos_max = kTokens};
  AttendScratch scratch(kDim);
  std::vector<float> memory(StateFloats(kRows, kDim));
  const StateView states = MakeStateView(memory.data(), kRows, kDim);
  for (auto _ : state) {
    ResetStates(states);
    if (!segment.Attend(rows, kAll, 0, scratch, states).ok()) state.SkipWithError("attend");
    benchmark::DoNotOptimize(memory.data());
  }
  state.SetItemsProcessed(state.iterations() * kTokens);
  state.SetBytesProcessed(state.iterations() * segment.bytes());
}

}  // namespace
}  // namespace kvasir

int main(int argc, char** argv) {
  for (const kvasir::CodecEntry& entry : kvasir::Codecs()) {
    const std::string name(entry.info->name);
    benchmark::RegisterBenchmark(("attend_" + name).c_str(), kvasir::Attend, entry.info);
    benchmark::RegisterBenchmark(("encode_" + name).c_str(), kvasir::Encode, entry.info);
  }
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
