#include "kvasir/codecs/reposition.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <random>

#include "kvasir/cache/dense.h"
#include "kvasir/codecs/codec_testing.h"

namespace kvasir {
namespace {

constexpr int kDim = 64;

struct RopeCase {
  std::string name;
  RopeSpec spec;
  int32_t n_ctx = 4096;
};

std::vector<RopeCase> RopeCases() {
  RopeSpec plain;
  plain.n_rot = kDim;
  std::vector<RopeCase> cases = {{"plain", plain}};
  const auto add = [&](const char* name, const std::function<void(RopeSpec&)>& change,
                       int32_t n_ctx = 4096) {
    cases.push_back({name, plain, n_ctx});
    change(cases.back().spec);
  };
  add("adjacent", [](RopeSpec& s) { s.pairing = RopePairing::kAdjacent; });
  add("partial", [](RopeSpec& s) { s.n_rot = 24; });
  add("linear", [](RopeSpec& s) {
    s.scaling = RopeScaling::kLinear;
    s.factor = 4;
  });
  add("llama3", [](RopeSpec& s) {
    s.scaling = RopeScaling::kLlama3;
    s.factor = 8;
    s.original_context = 512;
    s.freq_base = 500000;
  });
  add("yarn", [](RopeSpec& s) {
    s.scaling = RopeScaling::kYarn;
    s.factor = 4;
    s.original_context = 512;
  });
  add("longrope", [](RopeSpec& s) {
    s.scaling = RopeScaling::kLongRope;
    s.factor = 8;
    s.original_context = 512;
    for (int i = 0; i < kDim / 2; ++i) {
      s.long_factors.push_back(1 + 0.2f * static_cast<float>(i));
      s.short_factors.push_back(1);
    }
  });
  return cases;
}

// Rows of k_raw with RoPE applied at `pos`.
std::vector<float> Roped(const Rope& rope, std::span<const float> k_raw,
                         std::span<const int32_t> pos) {
  std::vector<float> k(k_raw.begin(), k_raw.end()), angles(rope.n_rot());
  for (size_t t = 0; t < pos.size(); ++t) {
    rope.FillTable(pos.subspan(t, 1), angles.data());
    rope.Apply(&k[t * kDim], angles.data());
  }
  return k;
}

struct Rows {
  std::vector<float> k, v;
};
Rows DecodeAll(const Segment& segment) {
  Rows rows{std::vector<float>(segment.n_kv() * kDim), std::vector<float>(segment.n_kv() * kDim)};
  EXPECT_TRUE(segment.Decode(0, segment.n_kv(), rows.k.data(), rows.v.data()).ok());
  return rows;
}

// Raw keys, values, and segments of them in any format.
struct World {
  explicit World(const RopeCase& c, int n, uint32_t seed = 1)
      : rope(c.spec, c.n_ctx), move(rope, ledger), f(n, kDim, seed) {}

  std::shared_ptr<const Segment> Dense(TileFormat format, std::span<const int32_t> pos,
                                       std::span<const float> bias = {}) {
    const std::vector<float> k = Roped(rope, f.k, pos);
    auto segment =
        MakeDenseSegment({kDim, format, format}, f.arena, pos, k.data(), f.v.data(), bias);
    EXPECT_TRUE(segment.ok());
    return *segment;
  }
  std::shared_ptr<const Segment> Coded(const KvCodec& codec, std::span<const int32_t> pos,
                                       std::vector<float> bias = {}) {
    const std::vector<float> k = Roped(rope, f.k, pos);
    const auto encode = [&](KvSide side, std::span<const float> rows) {
      CodecInput input = f.Input(side, rows);
      input.pos = pos;
      input.rope = &rope;
      auto part = codec.Encode(input);
      EXPECT_TRUE(part.ok()) << part.status().ToString();
      return *part;
    };
    return std::make_shared<const CodedSegment>(kDim, Positions(pos), codec.name(),
                                                encode(KvSide::kKey, k),
                                                encode(KvSide::kValue, f.v), std::move(bias));
  }

  ByteLedger ledger;
  Rope rope;
  Repositioner move;
  CodecFixture f;
};

std::vector<int32_t> Count(int32_t first, int n) {
  std::vector<int32_t> pos(n);
  for (int i = 0; i < n; ++i) pos[i] = first + i;
  return pos;
}

// Ascending positions with holes.
std::vector<int32_t> Holes(int32_t first, int n, uint32_t seed) {
  std::mt19937 rng(seed);
  std::vector<int32_t> pos = {first};
  while (static_cast<int>(pos.size()) < n) {
    pos.push_back(pos.back() + 1 + (rng() % 3 == 0 ? static_cast<int32_t>(rng() % 9) : 0));
  }
  return pos;
}

TEST(Reposition, DenseKeysStandWhereTheyWouldHaveBeenComputed) {
  for (const RopeCase& c : RopeCases()) {
    SCOPED_TRACE(c.name);
    constexpr int kTokens = 83;
    World w(c, kTokens);
    const auto old_pos = Holes(300, kTokens, 2);
    for (const auto& pos : {Holes(7, kTokens, 3), Count(0, kTokens), Holes(2900, kTokens, 4)}) {
      const auto moved = *w.move.Renumber(w.Dense(TileFormat::kF32, old_pos), pos);
      const Rows got = DecodeAll(*moved), want = DecodeAll(*w.Dense(TileFormat::kF32, pos));
      EXPECT_EQ(got.v, want.v);
      EXPECT_LE(RelativeError(got.k, want.k), 1e-6);
      for (int i = 0; i < kTokens; ++i) EXPECT_EQ(moved->pos()[i], pos[i]);
      const auto half = *w.move.Renumber(w.Dense(TileFormat::kF16, old_pos), pos);
      EXPECT_LE(RelativeError(DecodeAll(*half).k, want.k), 4e-4);
    }
  }
}

TEST(Reposition, CodedKeysLoseNothing) {
  for (const RopeCase& c : RopeCases()) {
    if (c.name == "linear" || c.name == "longrope") continue;  // as plain and llama3, to codecs
    for (const auto& codec : TestedCodecs()) {
      SCOPED_TRACE(c.name + " " + codec->name());
      const int n = codec->tail(KvSide::kKey).block * 2;
      World w(c, n);
      const auto old_pos = Holes(500, n, 5), pos = Count(40, n);
      const auto segment = w.Coded(*codec, old_pos);
      const Rows before = DecodeAll(*segment);
      const Rows moved = DecodeAll(**w.move.Renumber(segment, pos));
      const Rows shifted = DecodeAll(**w.move.Shift(segment, -333));
      std::vector<int32_t> less = old_pos;
      for (int32_t& p : less) p -= 333;
      // Rotations keep distances: the error is the one that coding made where the keys were.
      const double error = RelativeError(before.k, Roped(w.rope, w.f.k, old_pos));
      EXPECT_NEAR(RelativeError(moved.k, Roped(w.rope, w.f.k, pos)), error, 2e-6);
      EXPECT_NEAR(RelativeError(shifted.k, Roped(w.rope, w.f.k, less)), error, 2e-6);
      EXPECT_EQ(moved.v, before.v);
      EXPECT_EQ(shifted.v, before.v);
    }
  }
}

TEST(Reposition, UnrotatedKeysAreThoseEncodedAtTheNewPositions) {
  for (const char* bits : {"2", "3", "4"}) {
    const auto codec = MustMakeCodec("kvquant", {{"", bits}});
    World w(RopeCases()[0], 256);
    const auto pos = Count(3, 256);
    const Rows moved = DecodeAll(**w.move.Renumber(w.Coded(*codec, Holes(900, 256, 6)), pos));
    const Rows anew = DecodeAll(*w.Coded(*codec, pos));
    // The raw keys are the same up to the rounding of two rotations, which moves a code now and
    // then; with k_roped in between, codes would differ everywhere.
    int n_far = 0;
    for (int t = 0; t < 256; ++t) {
      n_far += RelativeError(std::span(moved.k).subspan(t * kDim, kDim),
                             std::span(anew.k).subspan(t * kDim, kDim)) > 1e-5;
    }
    EXPECT_LE(n_far, 26) << bits;
  }
}

TEST(Reposition, ByNothingIsTheSameSegmentAndBackAgainToo) {
  World w(RopeCases()[1], 32);
  const auto pos = Holes(100, 32, 7);
  const auto segment = w.Coded(*MustMakeCodec("kivi"), pos);
  EXPECT_EQ(*w.move.Shift(segment, 0), segment);
  EXPECT_EQ(*w.move.Renumber(segment, pos), segment);
  EXPECT_EQ(*w.move.Shift(*w.move.Shift(segment, 77), -77), segment);
  EXPECT_EQ(*w.move.Renumber(*w.move.Renumber(segment, Count(0, 32)), pos), segment);
}

TEST(Reposition, TwiceIsOnceByTheSumToTheBit) {
  World w(RopeCases()[4], 32);
  for (const char* name : {"int4h", "kivi", "q8_0", "f16", "bf16"}) {
    const auto segment = w.Coded(*MustMakeCodec(name), Holes(100, 32, 8));
    const auto twice = *w.move.Shift(*w.move.Shift(segment, 1000), -77);
    const auto once = *w.move.Shift(segment, 923);
    EXPECT_EQ(DecodeAll(*twice).k, DecodeAll(*once).k);
    const auto turned = dynamic_cast<const TurnedSegment*>(twice.get());
    ASSERT_NE(turned, nullptr);
    EXPECT_EQ(turned->stored(), segment);
    EXPECT_EQ(turned->turn(0), 923);
    const auto there = *w.move.Renumber(*w.move.Shift(segment, 5), Count(9, 32));
    EXPECT_EQ(DecodeAll(*there).k, DecodeAll(**w.move.Renumber(segment, Count(9, 32))).k);
  }
}

// Softmax attention of one query over rows at positions, f64. `q` is scaled to base-2 logits.
std::vector<double> Exact(const float* q, int32_t pos, const QueryRows& mask,
                          const Segment& segment, const Rows& rows, int64_t begin, int64_t end) {
  std::vector<double> weight, out(kDim);
  double max = -1e300, sum = 0;
  for (int64_t t = begin; t < end; ++t) {
    const int32_t p = segment.pos()[t];
    double x = segment.bias() == nullptr ? 0 : segment.bias()[t];
    for (int c = 0; c < kDim; ++c) x += double{q[c]} * rows.k[t * kDim + c];
    const bool seen = p <= pos && (mask.window == 0 || p > pos - mask.window || p < mask.sinks);
    weight.push_back(seen ? x : -1e300);
    max = std::max(max, weight.back());
  }
  for (double& x : weight) sum += x = x == -1e300 ? 0 : std::exp2(x - max);
  for (int64_t t = begin; t < end; ++t) {
    for (int c = 0; sum > 0 && c < kDim; ++c) {
      out[c] += weight[t - begin] / sum * rows.v[t * kDim + c];
    }
  }
  return out;
}

// How far attention may be from doubles: on codes it rounds queries and weights.
double Tolerance(const Segment& segment) {
  const auto* turned = dynamic_cast<const TurnedSegment*>(&segment);
  const Segment& stored = turned == nullptr ? segment : *turned->stored();
  const auto* coded = dynamic_cast<const CodedSegment*>(&stored);
  if (coded == nullptr) return 3e-5;
  if (coded->k()->code_format() != nullptr) return 5e-4;
  return coded->v()->code_format() != nullptr ? 1e-4 : 3e-5;
}

// Attention and weights of a moved segment against its decoded rows, for rows that see all, some
// and none of it, whole and in part.
void ExpectAttends(const Segment& segment, const World& w, int32_t window, int32_t sinks) {
  const Rows rows = DecodeAll(segment);
  const auto n = static_cast<int32_t>(segment.n_kv());
  const int32_t first = segment.pos()[0], last = segment.pos()[n - 1];
  std::vector<int32_t> pos = {first - 1, first, (first + last) / 2, last, last + 9, last + 400};
  if (pos[0] < 0) pos.erase(pos.begin());
  const int n_row = static_cast<int>(pos.size());
  std::vector<float> q(w.f.v.begin(), w.f.v.begin() + n_row * kDim);
  for (float& x : q) x *= 0.25f;
  QueryRows query = {.q = q.data(),
                     .pos = pos.data(),
                     .n_row = n_row,
                     .head_dim = kDim,
                     .pos_min = pos.front(),
                     .pos_max = pos.back(),
                     .window = window,
                     .sinks = sinks};
  AttendScratch scratch(kDim);
  for (const auto& [begin, end] : {std::pair{0, n}, {3, n - 2}, {n / 2, n}}) {
    std::vector<float> memory(StateFloats(n_row, kDim)), out(n_row * kDim);
    const StateView states = MakeStateView(memory.data(), n_row, kDim);
    ResetStates(states);
    const IndexRange range[] = {{begin, end}};
    ASSERT_TRUE(segment.Attend(query, range, 0, scratch, states).ok());
    FinishStates(states, kDim, out.data(), kDim);
    for (int r = 0; r < n_row; ++r) {
      const auto want = Exact(&q[r * kDim], pos[r], query, segment, rows, begin, end);
      for (int c = 0; c < kDim; ++c) {
        ASSERT_NEAR(out[r * kDim + c], want[c], Tolerance(segment))
            << "row " << r << " channel " << c;
      }
    }
    std::vector<RowNorm> norms;
    for (int r = 0; r < n_row; ++r) {
      const float total = TotalWeight(states.sum + r * 16);
      norms.push_back({states.exponent[r], total > 0 ? 1 / total : 0});
    }
    std::vector<double> total(n_row);
    ASSERT_TRUE(segment
                    .VisitWeights(query, norms.data(), begin, end, scratch,
                                  [&](const float* x, int stride, int n_r, int64_t, int n_token) {
                                    for (int r = 0; r < n_r; ++r) {
                                      for (int t = 0; t < n_token; ++t)
                                        total[r] += x[r * stride + t];
                                    }
                                  })
                    .ok());
    for (int r = 0; r < n_row; ++r) {
      EXPECT_NEAR(total[r], norms[r].inv_sum > 0 ? 1 : 0, 1e-5) << "row " << r;
    }
  }
}

TEST(Reposition, AttentionReadsTheMovedRows) {
  for (const auto& codec : TestedCodecs()) {
    SCOPED_TRACE(codec->name());
    const int n = codec->tail(KvSide::kKey).block * 2;
    World w(RopeCases()[3], n);
    std::vector<float> bias(n);
    for (int t = 0; t < n; ++t) bias[t] = static_cast<float>(t % 5);
    const auto segment = w.Coded(*codec, Holes(200, n, 9), bias);
    for (int32_t window : {0, 20}) {
      ExpectAttends(**w.move.Shift(segment, 50), w, window, 0);
      ExpectAttends(**w.move.Shift(segment, -200), w, window, 4);
      ExpectAttends(**w.move.Renumber(segment, Count(0, n)), w, window, 4);
      ExpectAttends(**w.move.Turn(segment, Count(-40, n)), w, window, 230);
    }
  }
  for (TileFormat format : {TileFormat::kF16, TileFormat::kF32}) {
    World w(RopeCases()[0], 61);
    std::vector<float> bias(61, 0.5f);
    const auto segment = w.Dense(format, Holes(200, 61, 10), bias);
    ExpectAttends(**w.move.Shift(segment, -77), w, 30, 126);
    ExpectAttends(**w.move.Renumber(segment, Holes(1, 61, 11)), w, 0, 0);
  }
}

// A mean key under a logarithm of its count, as compensation leaves it.
TEST(Reposition, OneTokenWithABiasMoves) {
  World w(RopeCases()[0], 1);
  const float bias = 5;
  const auto token = w.Dense(TileFormat::kF32, std::vector<int32_t>{0}, {&bias, 1});
  const auto moved = *w.move.Shift(token, 9);
  ASSERT_NE(moved->bias(), nullptr);
  EXPECT_EQ(moved->bias()[0], 5);
  EXPECT_LE(RelativeError(DecodeAll(*moved).k, Roped(w.rope, w.f.k, std::vector<int32_t>{9})),
            1e-6);
}

TEST(Reposition, OnlyRelativePositionsMatterToQueries) {
  // A query and keys that move together: the outputs agree whatever the distance.
  World w(RopeCases()[4], 48);
  const auto segment = w.Coded(*MustMakeCodec("q8_0", {{"", "had"}}), Count(20, 48));
  std::vector<float> raw(w.f.v.begin(), w.f.v.begin() + kDim), first;
  for (int32_t by : {0, 1, 500, 4000}) {
    const auto moved = *w.move.Shift(segment, by);
    const int32_t pos = 100 + by;
    const std::vector<float> q = Roped(w.rope, raw, {&pos, 1});
    std::vector<float> memory(StateFloats(1, kDim)), out(kDim);
    const StateView states = MakeStateView(memory.data(), 1, kDim);
    ResetStates(states);
    AttendScratch scratch(kDim);
    const QueryRows rows = {
        .q = q.data(), .pos = &pos, .n_row = 1, .head_dim = kDim, .pos_min = pos, .pos_max = pos};
    const IndexRange all[] = {{0, 48}};
    ASSERT_TRUE(moved->Attend(rows, all, 0, scratch, states).ok());
    FinishStates(states, kDim, out.data(), kDim);
    if (by == 0) first = out;
    EXPECT_LE(RelativeError(out, first), 2e-5) << by;
  }
}

TEST(Reposition, BadPositionsAreRefusedWithBothNumbers) {
  World w(RopeCases()[0], 16);
  const auto segment = w.Dense(TileFormat::kF16, Count(10, 16));
  const Status below = w.move.Shift(segment, -11).status();
  EXPECT_EQ(below.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(below.message().find("found -1 to 14"), std::string::npos) << below.message();
  EXPECT_FALSE(w.move.Shift(segment, INT32_MAX).ok());
  EXPECT_FALSE(w.move.Renumber(segment, Count(0, 15)).ok());
  EXPECT_FALSE(w.move.Renumber(segment, Count(-1, 16)).ok());
  std::vector<int32_t> twice = Count(0, 16);
  twice[5] = twice[4];
  EXPECT_NE(w.move.Renumber(segment, twice).status().message().find("index 5"), std::string::npos);
}

TEST(Reposition, SharesWhatIsStoredAndStatesItsBytes) {
  World w(RopeCases()[0], 64);
  const auto segment = w.Coded(*MustMakeCodec("int4h"), Count(10, 64));
  const int64_t used = w.f.arena.used_bytes();
  const auto even = *w.move.Shift(segment, 5);
  const auto uneven = *w.move.Renumber(segment, Holes(0, 64, 12));
  EXPECT_EQ(w.f.arena.used_bytes(), used);
  EXPECT_LE(even->bytes(), segment->bytes() + 16);
  EXPECT_LE(uneven->bytes(), segment->bytes() + 64 * 8);
  EXPECT_EQ(even->format(), "int4h");
  EXPECT_GT(w.ledger.held(), 0);  // the table of angles
}

}  // namespace
}  // namespace kvasir
