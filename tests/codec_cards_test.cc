// What the cards of the proving set say must hold, where no other test says it, on random shapes.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "kvasir/cache/segment_list.h"
#include "kvasir/codecs/code_table.h"
#include "kvasir/codecs/codec_testing.h"
#include "kvasir/codecs/group_format.h"
#include "kvasir/kernels/half.h"
#include "kvasir/policy/sealer.h"

namespace kvasir {
namespace {

constexpr int kHeadDims[] = {16, 32, 48, 64, 80, 96, 128, 192, 256};

double HalfUlp16(double x) {
  const int exponent = std::max(std::ilogb(std::max(std::fabs(x), 0x1p-14)), -14);
  return std::ldexp(0.5, exponent - 10);
}

// Elements of `rows` (n, head_dim) that share a scale.
std::vector<std::vector<int>> Groups(int n, int head_dim, bool by_channel, int g) {
  std::vector<std::vector<int>> groups;
  if (by_channel) {
    for (int first = 0; first < n; first += g) {
      for (int c = 0; c < head_dim; ++c) {
        groups.emplace_back();
        for (int t = first; t < first + g; ++t) groups.back().push_back(t * head_dim + c);
      }
    }
    return groups;
  }
  for (int t = 0; t < n; ++t) {
    for (int c = 0; c < head_dim; c += g) {
      groups.emplace_back();
      for (int i = c; i < std::min(c + g, head_dim); ++i) {
        groups.back().push_back(t * head_dim + i);
      }
    }
  }
  return groups;
}

// |x - y| <= s / 2 plus what rounding s and m to f16 adds, for every element of every group.
void ExpectWithinHalfAStep(const std::vector<float>& got, const std::vector<float>& rows,
                           const std::vector<std::vector<int>>& groups, int bits) {
  const double top = (1 << bits) - 1;
  for (const std::vector<int>& group : groups) {
    double min = 1e30, max = -1e30;
    for (int e : group) {
      min = std::min(min, double{rows[e]});
      max = std::max(max, double{rows[e]});
    }
    const double s = (max - min) / top;
    const double bound = s / 2 + HalfUlp16(min) + 1.5 * top * HalfUlp16(s) + 1e-6 * std::fabs(max);
    for (int e : group) ASSERT_TRUE(std::fabs(got[e] - rows[e]) <= bound) << "element " << e;
  }
}

TEST(Cards, KiviErrsByHalfAStepOfItsOwnGroup) {
  std::mt19937 rng(1);
  for (int head_dim : kHeadDims) {
    for (int bits : {1, 2, 4}) {
      const int g = rng() % 2 == 0 ? 32 : 64;
      SCOPED_TRACE(std::to_string(head_dim) + " " + std::to_string(bits) + " " + std::to_string(g));
      CodecFixture f(128, head_dim, rng());
      const auto codec =
          MustMakeCodec("kivi", {{"", std::to_string(bits)}, {"g", std::to_string(g)}});
      ExpectWithinHalfAStep(DecodePart(*f.Encode(*codec, KvSide::kKey), KvSide::kKey, head_dim),
                            f.k, Groups(128, head_dim, true, g), bits);
      ExpectWithinHalfAStep(DecodePart(*f.Encode(*codec, KvSide::kValue), KvSide::kValue, head_dim),
                            f.v, Groups(128, head_dim, false, g), bits);
    }
  }
}

// A list that grows and seals, with the queries of a GQA group.
struct Head {
  Head(std::shared_ptr<const KvCodec> k, std::shared_ptr<const KvCodec> v, int n, int head_dim,
       uint32_t seed)
      : f(n, head_dim, seed),
        sealer(std::move(k), std::move(v)),
        list({head_dim, TileFormat::kF16, TileFormat::kF16}, f.arena) {}

  void Grow(int n) {
    const auto from = static_cast<size_t>(list.n_kv() * f.head_dim);
    ASSERT_TRUE(
        list.Append(std::span(f.pos).subspan(list.n_kv(), n), &f.k[from], &f.v[from], f.head_dim)
            .ok());
    ASSERT_TRUE(
        sealer.Seal({0, 0, &f.rope, &f.arena, std::span(f.importance).first(list.n_kv()), {}}, list)
            .ok());
  }
  std::vector<float> Attend(int n_query) {
    std::vector<float> q(f.v.begin(), f.v.begin() + n_query * f.head_dim), out(q.size());
    const std::vector<int32_t> pos(n_query, static_cast<int32_t>(list.n_kv()));
    const QueryRows rows = {.q = q.data(),
                            .pos = pos.data(),
                            .n_row = n_query,
                            .head_dim = f.head_dim,
                            .pos_min = pos[0],
                            .pos_max = pos[0]};
    AttendScratch scratch(f.head_dim);
    std::vector<float> memory(StateFloats(n_query, PaddedDim(f.head_dim)));
    const StateView states = MakeStateView(memory.data(), n_query, PaddedDim(f.head_dim));
    ResetStates(states);
    EXPECT_TRUE(list.Attend(rows, scratch, states).ok());
    FinishStates(states, f.head_dim, out.data(), f.head_dim);
    return out;
  }

  CodecFixture f;
  Sealer sealer;
  SegmentList list;
};

TEST(Cards, UntilTheFirstSealKiviIsADenseCacheToTheBit) {
  std::mt19937 rng(2);
  for (int group : {1, 2, 4, 8}) {
    for (int head_dim : kHeadDims) {
      const uint32_t seed = rng();
      const auto kivi = MustMakeCodec("kivi");
      Head coded(kivi, kivi, 200, head_dim, seed), dense(nullptr, nullptr, 200, head_dim, seed);
      for (Head* head : {&coded, &dense}) {
        head->Grow(60);
        head->Grow(67);
      }
      EXPECT_EQ(coded.Attend(group), dense.Attend(group)) << head_dim;
      for (Head* head : {&coded, &dense}) head->Grow(1);
      EXPECT_NE(coded.Attend(group), dense.Attend(group)) << head_dim;
    }
  }
}

TEST(Cards, KiviHoldsTheBytesOfItsFormula) {
  for (int head_dim : {64, 128}) {
    const auto kivi = MustMakeCodec("kivi");
    Head head(kivi, kivi, 1024, head_dim, 3);
    for (int n = 1; n <= 1024; ++n) {
      head.Grow(1);
      if (n % 128 != 0) continue;
      // K: everything at 3 bits. V: all but the newest 128 at 3, those at 16.
      const double bits = 3.0 * n + 3.0 * (n - 128) + 16.0 * 128;
      int64_t payload = 0;
      for (const auto& segment : head.list.sealed()) {
        const auto& coded = dynamic_cast<const CodedSegment&>(*segment);
        payload += coded.k()->bytes() + coded.v()->bytes();
      }
      EXPECT_EQ(head.list.tail().n_kv(), 0);
      EXPECT_EQ(payload, static_cast<int64_t>(bits * head_dim / 8)) << n;
    }
  }
}

TEST(Cards, KvquantKeepsItsSinksToTheBit) {
  for (int sinks : {1, 5, 16}) {
    const auto codec = MustMakeCodec("kvquant", {{"sinks", std::to_string(sinks)}});
    Head coded(codec, codec, 300, 64, 4), dense(nullptr, nullptr, 300, 64, 4);
    for (Head* head : {&coded, &dense}) {
      for (int i = 0; i < 10; ++i) head->Grow(30);
    }
    EXPECT_LT(coded.list.tail().n_kv(), 128 + 16);
    std::vector<float> k(300 * 64), v(k.size()), k2(k.size()), v2(k.size());
    ASSERT_TRUE(coded.list.Decode(0, 300, k.data(), v.data()).ok());
    ASSERT_TRUE(dense.list.Decode(0, 300, k2.data(), v2.data()).ok());
    EXPECT_TRUE(std::equal(k.begin(), k.begin() + sinks * 64, k2.begin()));
    EXPECT_TRUE(std::equal(v.begin(), v.begin() + sinks * 64, v2.begin()));
    EXPECT_NE(k, k2);
  }
}

TEST(Cards, TablesAscendAndCodesAreTheNearest) {
  std::mt19937 rng(5);
  std::normal_distribution<float> normal(0, 0.4f);
  for (int bits : {1, 2, 3, 4}) {
    std::vector<float> x(3000);
    for (float& v : x) v = std::clamp(normal(rng), -1.0f, 1.0f);
    const std::vector<float> table = FitTable(x, bits);
    EXPECT_TRUE(std::ranges::is_sorted(table));
    const Quantiser quantiser(GridRule::kRange, bits);
    const std::vector<float> ends = {-1, 1};
    const Grid grid = quantiser.Fit(ends);  // s = 1, o = 0
    for (float v : x) {
      const float got = table[quantiser.Code(v, grid, table.data())];
      for (float other : table) EXPECT_LE(std::fabs(got - v), std::fabs(other - v) + 1e-6f);
    }
  }
}

TEST(Cards, TakingOutliersOutNeverWidensARange) {
  std::mt19937 rng(6);
  std::normal_distribution<float> normal;
  const Quantiser quantiser(GridRule::kRange, 3);
  for (int round = 0; round < 200; ++round) {
    std::vector<float> x(100);
    for (float& v : x) v = normal(rng) + (rng() % 50 == 0 ? 20.0f : 0.0f);
    const float whole = quantiser.Fit(x).s;
    std::ranges::sort(x);
    x.erase(x.begin());
    x.pop_back();
    EXPECT_LE(quantiser.Fit(x).s, whole);
  }
}

// RoPE of decoded raw keys is what attention reads: with more bits the scores become those of keys
// that were rotated first.
TEST(Cards, ScoresOfRawKeysComeNearAsBitsGrow) {
  for (int head_dim : kHeadDims) {
    CodecFixture f(128, head_dim, 7, 1000);
    double last = 1e30;
    for (const char* bits : {"2", "4", "6", "8"}) {
      const auto codec = MustMakeCodec("group", {{"bits", bits}, {"", "channel"}, {"", "raw"}});
      const std::vector<float> k =
          DecodePart(*f.Encode(*codec, KvSide::kKey), KvSide::kKey, head_dim);
      double error = 0, total = 0;
      for (int t = 0; t < 128; ++t) {
        double exact = 0, got = 0;
        for (int c = 0; c < head_dim; ++c) {
          exact += double{f.v[c]} * f.k[t * head_dim + c];
          got += double{f.v[c]} * k[t * head_dim + c];
        }
        error += (got - exact) * (got - exact);
        total += exact * exact;
      }
      EXPECT_LT(error, last / 4) << head_dim << " " << bits;
      last = error;
      if (std::string_view(bits) == "8") {
        EXPECT_LT(std::sqrt(error / total), 0.01) << head_dim;
      }
    }
  }
}

TEST(Cards, MikvIsDenseWhereAllAreImportantAndPlainGroupsWhereNoneIs) {
  std::mt19937 rng(8);
  for (int head_dim : {32, 64, 128, 256}) {
    CodecFixture f(128, head_dim, rng());
    const auto all = MustMakeCodec("mikv", {{"r", "1"}});
    const std::vector<float> v =
        DecodePart(*f.Encode(*all, KvSide::kValue), KvSide::kValue, head_dim);
    for (size_t e = 0; e < v.size(); ++e) EXPECT_EQ(v[e], HalfToFloat(FloatToHalf(f.v[e])));
    // Keys are balanced and back: the scores are those of unbalanced ones, to f16 rounding.
    EXPECT_LE(RelativeError(DecodePart(*f.Encode(*all, KvSide::kKey), KvSide::kKey, head_dim), f.k),
              1e-3);
    for (int bits : {2, 4}) {
      const auto none = MustMakeCodec("mikv", {{"r", "0"}, {"lo", std::to_string(bits)}});
      const auto group = MustMakeCodec(
          "group", {{"bits", std::to_string(bits)}, {"g", std::to_string(head_dim / 2)}});
      EXPECT_EQ(DecodePart(*f.Encode(*none, KvSide::kValue), KvSide::kValue, head_dim),
                DecodePart(*f.Encode(*group, KvSide::kValue), KvSide::kValue, head_dim));
    }
  }
}

TEST(Cards, MikvTiersHaveTheStatedCounts) {
  std::mt19937 rng(9);
  for (const char* ratio : {"0.1", "0.2", "0.33", "0.5", "0.9"}) {
    for (int n : {128, 256, 512}) {
      CodecFixture f(n, 64, rng());
      const auto codec = MustMakeCodec("mikv", {{"r", ratio}});
      const std::vector<float> v =
          DecodePart(*f.Encode(*codec, KvSide::kValue), KvSide::kValue, 64);
      int n_high = 0;
      for (int t = 0; t < n; ++t) {
        bool exact = true;
        for (int c = 0; c < 64; ++c) {
          exact = exact && v[t * 64 + c] == HalfToFloat(FloatToHalf(f.v[t * 64 + c]));
        }
        n_high += exact;
      }
      EXPECT_EQ(n_high, static_cast<int>(std::floor(std::stod(ratio) * n + 1e-9))) << ratio;
    }
  }
}

// The step of e4m3 is relative: an outlier takes nothing from the others, and what is beyond the
// largest number saturates.
TEST(Cards, Fp8ErrsInProportion) {
  for (int head_dim : kHeadDims) {
    CodecFixture f(32, head_dim, 10);
    for (size_t e = 0; e < f.k.size(); ++e) f.k[e] *= e % 7 == 0 ? 40.0f : 1.0f;
    f.k[3] = 1e4f;
    f.k[4] = -1e4f;
    const std::vector<float> got =
        DecodePart(*f.Encode(*MustMakeCodec("fp8"), KvSide::kKey), KvSide::kKey, head_dim);
    EXPECT_EQ(got[3], 448);
    EXPECT_EQ(got[4], -448);
    for (size_t e = 5; e < got.size(); ++e) {
      if (std::fabs(f.k[e]) > 448) continue;
      const double bound = std::max(std::fabs(f.k[e]) / 16.0, 0x1p-10);
      ASSERT_LE(std::fabs(got[e] - f.k[e]), bound) << "element " << e;
    }
  }
}

// A rotation of keys and queries alike: unrotated rows come back, and with them every score.
TEST(Cards, RotationsKeepScoresWhereCodesAreWide) {
  std::mt19937 rng(11);
  for (int head_dim : kHeadDims) {
    CodecFixture f(64, head_dim, rng());
    for (const CodecArgs& args : {CodecArgs{{"", "8"}}, CodecArgs{{"", "8"}, {"g", "16"}}}) {
      const auto codec = MustMakeCodec("int4h", args);
      EXPECT_LE(
          RelativeError(DecodePart(*f.Encode(*codec, KvSide::kKey), KvSide::kKey, head_dim), f.k),
          0.012)
          << head_dim;
    }
    // Constant rows have one range of no width, rotated or not.
    const auto q4_1 = MustMakeCodec("q4_1");
    for (float& x : f.v) x = -3.25f;
    for (float x : DecodePart(*f.Encode(*q4_1, KvSide::kValue), KvSide::kValue, head_dim)) {
      ASSERT_EQ(x, -3.25f);
    }
  }
}

}  // namespace
}  // namespace kvasir
