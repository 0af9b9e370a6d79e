#include "kvasir/cache/sequence_cache.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numeric>
#include <random>
#include <vector>

namespace kvasir {
namespace {

// Random queries, keys and values of one layer, and attention over them in f64.
struct Data {
  Data(int n_token, const CacheShape& shape, uint32_t seed, float spread = 1)
      : shape(shape), n_token(n_token) {
    std::mt19937 rng(seed);
    std::normal_distribution<float> normal;
    q.resize(static_cast<size_t>(n_token) * shape.n_head * shape.head_dim);
    k.resize(static_cast<size_t>(n_token) * shape.n_kv_head * shape.head_dim);
    v.resize(k.size());
    for (float& x : q) x = normal(rng) * spread;
    for (float& x : k) x = normal(rng);
    for (float& x : v) x = normal(rng);
    pos.resize(n_token);
    std::iota(pos.begin(), pos.end(), 0);
  }

  // Head `head` of token `token` against the keys `seen` lets through.
  template <typename Seen>
  std::vector<double> Exact(int token, int head, float softcap, const Seen& seen) const {
    const int d = shape.head_dim, kv_head = head / shape.group();
    const float* query = &q[(static_cast<size_t>(token) * shape.n_head + head) * d];
    std::vector<double> out(d, 0.0);
    double sum = 0, max = -1e300;
    for (int pass = 0; pass < 2; ++pass) {
      for (int t = 0; t < n_token; ++t) {
        if (!seen(t)) continue;
        const size_t at = (static_cast<size_t>(t) * shape.n_kv_head + kv_head) * d;
        double dot = 0;
        for (int j = 0; j < d; ++j) dot += double{query[j]} * k[at + j];
        dot /= std::sqrt(d);
        if (softcap > 0) dot = softcap * std::tanh(dot / softcap);
        if (pass == 0) {
          max = std::max(max, dot);
          continue;
        }
        const double p = std::exp(dot - max);
        sum += p;
        for (int j = 0; j < d; ++j) out[j] += p * v[at + j];
      }
    }
    for (double& x : out) x = sum > 0 ? x / sum : 0;
    return out;
  }

  CacheShape shape;
  int n_token;
  std::vector<float> q, k, v;
  std::vector<int32_t> pos;
};

class Runner {
 public:
  Runner(const CacheShape& shape, int n_thread, TileFormat format = TileFormat::kF16)
      : arena_(ledger_, ByteKind::kKv),
        team_(n_thread),
        workspace_(*AttendWorkspace::Create(shape, n_thread, ledger_)),
        cache_(std::make_unique<SequenceCache>(shape, format, format, arena_)) {}

  // Feeds tokens [begin, end) as one chunk and returns their outputs.
  std::vector<float> Chunk(const Data& data, int begin, int end, float softcap = 0) {
    const CacheShape& shape = data.shape;
    const std::span pos = std::span(data.pos).subspan(begin, end - begin);
    const size_t kv_row = static_cast<size_t>(shape.n_kv_head) * shape.head_dim;
    const size_t q_row = static_cast<size_t>(shape.n_head) * shape.head_dim;
    EXPECT_TRUE(
        cache_->Append(0, pos, &data.k[begin * kv_row], &data.v[begin * kv_row], team_).ok());
    std::vector<float> out((end - begin) * q_row);
    LayerQueries queries;
    queries.q = &data.q[begin * q_row];
    queries.pos = pos;
    queries.scale = 1.0f / std::sqrt(static_cast<float>(shape.head_dim));
    queries.softcap = softcap;
    EXPECT_TRUE(cache_->Attend(0, queries, team_, *workspace_, out.data()).ok());
    cache_->Advance(end);
    return out;
  }
  std::vector<float> All(const Data& data, int chunk, float softcap = 0) {
    std::vector<float> out;
    for (int begin = 0; begin < data.n_token; begin += chunk) {
      const auto part = Chunk(data, begin, std::min(begin + chunk, data.n_token), softcap);
      out.insert(out.end(), part.begin(), part.end());
    }
    return out;
  }
  SequenceCache& cache() { return *cache_; }
  void set_cache(std::unique_ptr<SequenceCache> cache) { cache_ = std::move(cache); }
  SlabArena& arena() { return arena_; }
  ThreadTeam& team() { return team_; }
  AttendWorkspace& workspace() { return *workspace_; }

 private:
  ByteLedger ledger_;
  SlabArena arena_;
  ThreadTeam team_;
  std::unique_ptr<AttendWorkspace> workspace_;
  std::unique_ptr<SequenceCache> cache_;
};

CacheShape Shape(int n_head, int n_kv_head, int head_dim, int32_t window = 0) {
  return {1, n_head, n_kv_head, head_dim, {window}};
}

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

TEST(SequenceCache, EqualsF64AttentionForEveryGroupAndWindow) {
  uint32_t seed = 0;
  for (const auto& [group, d, window, softcap] : {std::tuple{1, 16, 0, 0.f},
                                                  {2, 64, 0, 0.f},
                                                  {4, 64, 37, 0.f},
                                                  {8, 32, 0, 20.f},
                                                  {3, 72, 100, 5.f},
                                                  {4, 256, 0, 0.f}}) {
    const CacheShape shape = Shape(2 * group, 2, d, window);
    const Data data(230, shape, ++seed);
    Runner runner(shape, 2, TileFormat::kF32);
    const auto out = runner.All(data, 70, softcap);
    for (int token : {0, 1, 15, 16, 17, 69, 70, 128, 229}) {
      for (int head = 0; head < shape.n_head; ++head) {
        const auto exact = data.Exact(token, head, softcap, [&](int t) {
          return t <= token && (window == 0 || t > token - window);
        });
        for (int j = 0; j < d; ++j) {
          const double got = out[(static_cast<size_t>(token) * shape.n_head + head) * d + j];
          ASSERT_TRUE(std::fabs(got - exact[j]) <= 5e-6)
              << "token " << token << " head " << head << " channel " << j << ": " << got
              << " against " << exact[j];
        }
      }
    }
  }
}

TEST(SequenceCache, ChunksAndThreadsChangeNoBit) {
  for (int32_t window : {0, 130}) {
    for (float spread : {1.0f, 30.0f, 300.0f}) {
      const CacheShape shape = Shape(6, 2, 40, window);
      const Data data(1600, shape, 11, spread);
      Runner reference(shape, 1);
      const auto expected = reference.All(data, 1600);
      for (const auto& [chunk, n_thread] :
           {std::pair{1, 2}, {7, 3}, {64, 2}, {512, 3}, {1000, 1}}) {
        Runner runner(shape, n_thread);
        const auto actual = runner.All(data, chunk);
        size_t at = 0;
        while (at < actual.size() && std::memcmp(&actual[at], &expected[at], 4) == 0) ++at;
        EXPECT_EQ(at, expected.size())
            << "token " << at / 240 << " channel " << at % 240 << ": " << expected[at] << " "
            << actual[at] << " spread " << spread << " chunk " << chunk << " threads " << n_thread
            << " window " << window;
      }
    }
  }
}

TEST(SequenceCache, SegmentSplitsChangeNoBit) {
  const CacheShape shape = Shape(4, 2, 64);
  const Data data(1400, shape, 5);
  Runner reference(shape, 2);
  reference.All(data, 512);
  const auto expected = reference.Chunk(Data(1401, shape, 5), 1400, 1401);
  std::mt19937 rng(2);
  for (int round = 0; round < 10; ++round) {
    Runner runner(shape, 2);
    runner.All(data, 512);
    const Data next(1401, shape, 5);
    // Rebuild the list as sealed segments of random lengths, empty tail.
    for (int kv_head = 0; kv_head < 2; ++kv_head) {
      SegmentList& list = runner.cache().list(0, kv_head);
      std::vector<float> k(1400 * 64), v(1400 * 64);
      ASSERT_TRUE(list.Decode(0, 1400, k.data(), v.data()).ok());
      std::vector<std::shared_ptr<const Segment>> sealed;
      for (int begin = 0; begin < 1400;) {
        const int n = std::min<int>(1 + rng() % (round == 0 ? 3 : 300), 1400 - begin);
        auto segment =
            MakeDenseSegment(list.tail().layout(), runner.arena(),
                             std::span(data.pos).subspan(begin, n), &k[begin * 64], &v[begin * 64]);
        ASSERT_TRUE(segment.ok());
        sealed.push_back(*segment);
        begin += n;
      }
      list.Truncate(0);
      list.ReplaceSealed(sealed);
    }
    EXPECT_TRUE(SameBits(expected, runner.Chunk(next, 1400, 1401))) << "round " << round;
  }
}

// What selectors read: ranges that come together in one step, over segment borders that no tile
// respects, with and without biases.
TEST(SegmentList, RangesTogetherGiveTheBitsOfRangesOneByOne) {
  const CacheShape shape = Shape(4, 1, 64);
  const Data data(900, shape, 6, 30.0f);
  std::mt19937 rng(4);
  for (int round = 0; round < 40; ++round) {
    Runner runner(shape, 1);
    runner.All(data, 300);
    SegmentList& list = runner.cache().list(0, 0);
    std::vector<float> k(900 * 64), v(k.size()), bias(900);
    ASSERT_TRUE(list.Decode(0, 900, k.data(), v.data()).ok());
    for (float& b : bias) b = static_cast<float>(rng() % 8);
    const int n_sealed = 300 + static_cast<int>(rng() % 300);
    std::vector<std::shared_ptr<const Segment>> sealed;
    for (int begin = 0; begin < n_sealed;) {
      const int n = std::min<int>(1 + rng() % 200, n_sealed - begin);
      const bool has_bias = round % 2 == 1 && rng() % 2 == 0;
      auto segment =
          MakeDenseSegment(list.tail().layout(), runner.arena(),
                           std::span(data.pos).subspan(begin, n), &k[begin * 64], &v[begin * 64],
                           has_bias ? std::span(bias).subspan(begin, n) : std::span<const float>());
      ASSERT_TRUE(segment.ok());
      sealed.push_back(*segment);
      begin += n;
    }
    list.Truncate(0);
    list.ReplaceSealed(sealed);
    ASSERT_TRUE(
        list.Append(std::span(data.pos).subspan(n_sealed), &k[n_sealed * 64], &v[n_sealed * 64], 64)
            .ok());
    std::vector<IndexRange> ranges;
    for (int64_t at = rng() % 20; at < 900;) {
      const int64_t end = std::min<int64_t>(900, at + 1 + rng() % (round % 3 == 0 ? 200 : 24));
      ranges.push_back({at, end});
      at = end + rng() % 60;
    }
    const std::vector<int32_t> pos(4, round % 4 == 0 ? 450 : 899);
    const QueryRows rows = {.q = data.q.data(),
                            .pos = pos.data(),
                            .n_row = 4,
                            .head_dim = 64,
                            .pos_min = pos[0],
                            .pos_max = pos[0],
                            .window = round % 5 == 0 ? 333 : 0};
    AttendScratch scratch(64);
    std::vector<float> together(StateFloats(4, 64)), apart(together.size());
    ResetStates(MakeStateView(together.data(), 4, 64));
    ResetStates(MakeStateView(apart.data(), 4, 64));
    ASSERT_TRUE(
        list.AttendRanges(rows, ranges, scratch, MakeStateView(together.data(), 4, 64)).ok());
    for (const IndexRange& range : ranges) {
      ASSERT_TRUE(list.AttendRange(rows, range.begin, range.end, scratch,
                                   MakeStateView(apart.data(), 4, 64))
                      .ok());
    }
    EXPECT_TRUE(SameBits(together, apart)) << "round " << round;
  }
}

TEST(SequenceCache, WindowLayersReleaseBytesAndSayHowFarTheyRewind) {
  const CacheShape shape = Shape(2, 1, 64, 100);
  const Data data(3000, shape, 3);
  Runner runner(shape, 1);
  runner.All(data, 250);
  EXPECT_LE(runner.cache().list(0, 0).n_kv(), 100 + 3 * 64);
  EXPECT_LE(runner.cache().bytes(), (100 + 4 * 64) * 256);
  const int32_t floor = runner.cache().rewind_floor();
  EXPECT_GT(floor, 2700);
  EXPECT_FALSE(runner.cache().Truncate(floor - 1).ok());
  ASSERT_TRUE(runner.cache().Truncate(floor).ok());
  Runner fresh(shape, 1);
  const auto all = fresh.All(data, 3000);
  const auto again = runner.Chunk(data, floor, 3000);
  EXPECT_TRUE(SameBits(std::vector<float>(all.end() - again.size(), all.end()), again));
  EXPECT_TRUE(runner.cache().Truncate(0).ok());
  EXPECT_EQ(runner.cache().bytes(), 0);
}

TEST(SequenceCache, ForksShareSealedSegmentsAndThenGoTheirOwnWay) {
  const CacheShape shape = Shape(4, 2, 32);
  const Data data(700, shape, 8), other(700, shape, 9);
  Runner runner(shape, 2);
  runner.Chunk(data, 0, 500);
  for (int h = 0; h < 2; ++h) runner.cache().list(0, h).SealTail(496);
  const int64_t before = runner.arena().used_bytes();
  auto fork = runner.cache().Fork();
  ASSERT_TRUE(fork.ok());
  EXPECT_EQ(runner.arena().used_bytes() - before, 2 * 1 * (32 * 16 * 2 * 2));  // a tile a kv head
  const auto straight = runner.Chunk(data, 500, 700);
  std::swap(*fork, *fork);
  Runner check(shape, 1);
  EXPECT_TRUE(SameBits(straight, [&] {
    auto all = check.All(data, 700);
    return std::vector<float>(all.end() - static_cast<int64_t>(straight.size()), all.end());
  }()));
  runner.set_cache(std::move(*fork));
  runner.Chunk(other, 500, 700);  // the fork takes other tokens
  ASSERT_TRUE(runner.cache().Truncate(500).ok());
  EXPECT_TRUE(SameBits(straight, runner.Chunk(data, 500, 700)));
  ASSERT_TRUE(runner.cache().Truncate(123).ok());  // inside a sealed segment
  const auto tail = runner.Chunk(data, 123, 700);
  EXPECT_TRUE(SameBits(straight, std::vector<float>(tail.end() - straight.size(), tail.end())));
}

TEST(SequenceCache, SecondPassGivesTheNormalisedWeights) {
  const CacheShape shape = Shape(6, 2, 64);
  const Data data(1100, shape, 4);
  Runner runner(shape, 2, TileFormat::kF32);
  runner.Chunk(data, 0, 1099);
  ASSERT_TRUE(runner.cache()
                  .Append(0, std::span(data.pos).subspan(1099), &data.k[1099 * 128],
                          &data.v[1099 * 128], runner.team())
                  .ok());
  std::vector<RowNorm> norms(6);
  std::vector<float> out(6 * 64);
  LayerQueries queries;
  queries.q = &data.q[1099 * 6 * 64];
  queries.pos = std::span(data.pos).subspan(1099);
  queries.scale = 0.125f;
  queries.norms = norms.data();
  ASSERT_TRUE(
      runner.cache().Attend(0, queries, runner.team(), runner.workspace(), out.data()).ok());
  for (int kv_head = 0; kv_head < 2; ++kv_head) {
    std::vector<double> sum(3, 0.0), mixed(3 * 64, 0.0);
    int64_t n_seen = 0;
    ASSERT_TRUE(runner.cache()
                    .VisitWeights(0, kv_head, queries, 0, 1, runner.workspace().thread(0),
                                  [&](const float* w, int stride, int n_row, int64_t first, int n) {
                                    n_seen += n;
                                    for (int r = 0; r < n_row; ++r) {
                                      for (int t = 0; t < n; ++t) {
                                        sum[r] += w[r * stride + t];
                                        for (int j = 0; j < 64; ++j) {
                                          mixed[r * 64 + j] +=
                                              double{w[r * stride + t]} *
                                              data.v[((first + t) * 2 + kv_head) * 64 + j];
                                        }
                                      }
                                    }
                                  })
                    .ok());
    EXPECT_EQ(n_seen, 1100);
    for (int r = 0; r < 3; ++r) {
      EXPECT_NEAR(sum[r], 1.0, 1e-5);
      for (int j = 0; j < 64; ++j) {
        EXPECT_NEAR(mixed[r * 64 + j], out[(kv_head * 3 + r) * 64 + j], 1e-5);
      }
    }
  }
}

TEST(PartialState, MergeWithEmptyIsIdentityAndExtremesSurvive) {
  for (float level : {-1e5f, 0.0f, 1e5f}) {
    std::vector<float> memory(StateFloats(2, 16)), empty(StateFloats(2, 16));
    const StateView a = MakeStateView(memory.data(), 2, 16);
    const StateView b = MakeStateView(empty.data(), 2, 16);
    ResetStates(a);
    ResetStates(b);
    std::vector<float> x(16, level);
    a.exponent[0] = level - kExponentHeadroom;
    ActiveAttendKernels().weigh_row(x.data(), 1, nullptr, 0, a.exponent[0], a.sum);
    const std::vector<float> before = memory;
    MergeStates(a, b);
    EXPECT_TRUE(SameBits(before, memory));
    MergeStates(b, a);
    EXPECT_TRUE(SameBits(before, empty));
    EXPECT_NEAR(LogSumExp(a, 0) / kLn2, level + 4, std::fabs(level) * 1e-6 + 1e-5);
    EXPECT_EQ(LogSumExp(a, 1), -std::numeric_limits<float>::infinity());
    std::vector<float> out(32, 7.0f);
    FinishStates(a, 16, out.data(), 16);
    EXPECT_EQ(out[16], 0.0f);  // the empty row
  }
}

}  // namespace
}  // namespace kvasir
