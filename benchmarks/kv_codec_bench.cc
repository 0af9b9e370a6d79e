// Attention over encoded tokens, one kv head, as a decode step does it: for every codec of the
// table, with 4 query rows over 4096 tokens of 128 channels. bytes/s counts the encoded bytes.
#include <benchmark/benchmark.h>

#include <numeric>
#include <random>

#include "kvasir/codecs/registry.h"
#include "kvasir/model/rope.h"

namespace kvasir {
namespace {

constexpr int kTokens = 4096, kDim = 128, kRows = 4;

struct Bench {
  explicit Bench(const KvCodec& codec) : rope(Spec(), kTokens), arena(ledger, ByteKind::kKv) {
    std::mt19937 rng(1);
    std::normal_distribution<float> normal;
    std::vector<float> rows(kTokens * kDim), importance(kTokens);
    for (float& x : rows) x = normal(rng);
    for (float& x : importance) x = normal(rng);
    pos.resize(kTokens);
    std::iota(pos.begin(), pos.end(), 0);
    q.assign(rows.begin(), rows.begin() + kRows * kDim);
    CodecInput input;
    input.head_dim = kDim;
    input.pos = pos;
    input.rows = rows.data();
    input.rope = &rope;
    input.importance = importance;
    input.arena = &arena;
    k = *codec.Encode(input);
    input.side = KvSide::kValue;
    v = *codec.Encode(input);
  }
  static RopeSpec Spec() {
    RopeSpec spec;
    spec.n_rot = kDim;
    return spec;
  }

  Rope rope;
  ByteLedger ledger;
  SlabArena arena;
  std::vector<int32_t> pos;
  std::vector<float> q;
  std::shared_ptr<const CodedPart> k, v;
};

void Attend(benchmark::State& state, const CodecInfo* info) {
  Bench bench(**MakeCodec(info->name));
  const CodedSegment segment(kDim, Positions(bench.pos), std::string(info->name), bench.k, bench.v);
  const std::vector<int32_t> row_pos(kRows, kTokens);
  const QueryRows rows = {.q = bench.q.data(),
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
    if (!segment.Attend(rows, 0, kTokens, 0, scratch, states).ok()) state.SkipWithError("attend");
    benchmark::DoNotOptimize(memory.data());
  }
  state.SetItemsProcessed(state.iterations() * kTokens);
  state.SetBytesProcessed(state.iterations() * segment.bytes());
}

}  // namespace
}  // namespace kvasir

int main(int argc, char** argv) {
  for (const kvasir::CodecEntry& entry : kvasir::Codecs()) {
    benchmark::RegisterBenchmark(("attend_" + std::string(entry.info->name)).c_str(),
                                 kvasir::Attend, entry.info);
  }
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
