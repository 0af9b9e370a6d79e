// What every codec of the table must do, whatever its format.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <random>

#include "kvasir/cache/segment_list.h"
#include "kvasir/codecs/codec_testing.h"
#include "kvasir/codecs/tile_order.h"
#include "kvasir/core/isa.h"

namespace kvasir {
namespace {

constexpr KvSide kSides[] = {KvSide::kKey, KvSide::kValue};
constexpr int kHeadDims[] = {8, 16, 64, 80, 96, 128, 256};

std::string Where(const KvCodec& codec, KvSide side, int head_dim) {
  return codec.name() + (side == KvSide::kKey ? " keys " : " values ") + std::to_string(head_dim);
}

TEST(Conformance, EveryCodecTakesWholeBlocksAndHoldsTheBytesItStates) {
  for (const auto& codec : TestedCodecs()) {
    for (KvSide side : kSides) {
      for (int head_dim : kHeadDims) {
        SCOPED_TRACE(Where(*codec, side, head_dim));
        // Codecs that share a budget among the tokens state the bytes of one block.
        const int n = codec->tail(side).block * (codec->reads_importance() ? 1 : 2);
        CodecFixture f(n, head_dim, 1);
        const auto part = f.Encode(*codec, side);
        EXPECT_EQ(part->n_token(), n);
        const int64_t learnt = codec->head_bytes(side, head_dim);
        EXPECT_DOUBLE_EQ((part->bytes() - learnt) * 8.0 / (n * head_dim),
                         codec->bits_per_element(side, head_dim));
        EXPECT_EQ(part->bytes(), f.arena.used_bytes() + learnt);
        EXPECT_EQ(learnt, part->traits() == nullptr ? 0 : part->traits()->bytes());
        // Later tokens of the head hold what was learnt no second time.
        CodecInput input = f.Input(side, side == KvSide::kKey ? f.k : f.v);
        input.traits = part->traits();
        const auto later = codec->Encode(input);
        ASSERT_TRUE(later.ok());
        EXPECT_EQ((*later)->traits(), part->traits());
        EXPECT_EQ((*later)->bytes(), part->bytes() - learnt);
      }
    }
  }
}

TEST(Conformance, DecodedRowsAreCloseAndFinite) {
  for (const auto& codec : TestedCodecs()) {
    for (KvSide side : kSides) {
      for (int head_dim : kHeadDims) {
        SCOPED_TRACE(Where(*codec, side, head_dim));
        CodecFixture f(codec->tail(side).block * 2, head_dim, 2, 100);
        const std::vector<float> got = DecodePart(*f.Encode(*codec, side), side, head_dim);
        for (float x : got) ASSERT_TRUE(std::isfinite(x));
        // One bit between a minimum and a maximum may miss by more than the values themselves.
        EXPECT_LE(RelativeError(got, side == KvSide::kKey ? f.k : f.v),
                  codec->name().find("bits=1") == std::string::npos ? 0.75 : 1.6);
      }
    }
  }
}

TEST(Conformance, StrangeValuesStayFinite) {
  const float inf = std::numeric_limits<float>::infinity();
  const float strange[] = {inf, -inf, NAN, 3e38f, -3e38f, 1e-40f, 65504, -65504, 0, 7};
  for (const auto& codec : TestedCodecs()) {
    const std::string name = codec->name();
    if (name == "f32" || name == "f16" || name == "bf16")
      continue;  // they keep what they are given
    for (KvSide side : kSides) {
      SCOPED_TRACE(Where(*codec, side, 64));
      CodecFixture f(codec->tail(side).block, 64, 3);
      auto& rows = side == KvSide::kKey ? f.k : f.v;
      for (size_t i = 0; i < rows.size(); i += 3) rows[i] = strange[i % std::size(strange)];
      for (float x : DecodePart(*f.Encode(*codec, side), side, 64)) ASSERT_TRUE(std::isfinite(x));
    }
  }
}

TEST(Conformance, ZerosStayZero) {
  for (const auto& codec : TestedCodecs()) {
    for (KvSide side : kSides) {
      SCOPED_TRACE(Where(*codec, side, 80));
      CodecFixture f(codec->tail(side).block, 80, 3);
      f.k.assign(f.k.size(), 0.0f);
      f.v = f.k;
      for (float x : DecodePart(*f.Encode(*codec, side), side, 80)) ASSERT_EQ(x, 0.0f);
    }
  }
}

TEST(Conformance, TilesComeInAnyRun) {
  for (const auto& codec : TestedCodecs()) {
    for (KvSide side : kSides) {
      SCOPED_TRACE(Where(*codec, side, 96));
      const int n = std::max(codec->tail(side).block, 64);
      CodecFixture f(n, 96, 4);
      const auto part = f.Encode(*codec, side);
      const int64_t floats = TileOrder{side, 96}.floats();
      std::vector<float> one(floats), four(4 * floats);
      TileFormat format;
      const void* single;
      const void* tiles[4];
      ASSERT_TRUE(part->LoadTiles(0, 4, four.data(), &format, tiles).ok());
      for (int i = 0; i < 4; ++i) {
        ASSERT_TRUE(part->LoadTiles(i, 1, one.data(), &format, &single).ok());
        const size_t bytes = floats * (format == TileFormat::kF32 ? 4 : 2);
        EXPECT_EQ(std::memcmp(single, tiles[i], bytes), 0) << "tile " << i;
        EXPECT_TRUE(!part->in_place() || single == tiles[i]);
      }
    }
  }
}

TEST(Conformance, GatheringKeepsTheCodesOfSomeTokens) {
  for (const auto& codec : TestedCodecs()) {
    for (KvSide side : kSides) {
      for (int head_dim : {8, 80, 128}) {
        SCOPED_TRACE(Where(*codec, side, head_dim));
        CodecFixture f(std::max(codec->tail(side).block, 64), head_dim, 5);
        const auto part = f.Encode(*codec, side);
        const std::vector<int32_t> keep = {0,  3,  4,  15, 16, 17, 31, 40, 41, 42,
                                           43, 44, 45, 46, 47, 48, 49, 50, 62};
        const auto gathered = part->Gather(keep);
        ASSERT_EQ(gathered.ok(), codec->can_gather(side));
        if (!gathered.ok()) {
          EXPECT_EQ(gathered.status().code(), StatusCode::kUnsupported);
          continue;
        }
        const std::vector<float> all = DecodePart(*part, side, head_dim);
        const std::vector<float> some = DecodePart(**gathered, side, head_dim);
        ASSERT_EQ((*gathered)->n_token(), static_cast<int64_t>(keep.size()));
        EXPECT_LT((*gathered)->bytes(), part->bytes());
        for (size_t i = 0; i < keep.size(); ++i) {
          EXPECT_EQ(std::memcmp(&some[i * head_dim], &all[keep[i] * head_dim], head_dim * 4), 0)
              << "token " << keep[i];
        }
      }
    }
  }
}

// Attention over decoded rows in f64, for queries that see everything.
std::vector<double> ExactAttention(const std::vector<float>& q, const std::vector<float>& k,
                                   const std::vector<float>& v, int head_dim) {
  const size_t n = k.size() / head_dim;
  std::vector<double> x(n), out(head_dim);
  double max = -1e300, sum = 0;
  for (size_t t = 0; t < n; ++t) {
    for (int c = 0; c < head_dim; ++c) x[t] += double{q[c]} * k[t * head_dim + c];
    max = std::max(max, x[t]);
  }
  for (size_t t = 0; t < n; ++t) {
    const double p = std::exp2(x[t] - max);
    sum += p;
    for (int c = 0; c < head_dim; ++c) out[c] += p * v[t * head_dim + c];
  }
  for (double& o : out) o /= sum;
  return out;
}

// Attention on codes rounds queries to 2^-15 of the largest of a group, and weights to 2^-16 of the
// largest of a tile.
double AttendTolerance(const CodedPart& keys, const CodedPart& values) {
  if (keys.code_format() != nullptr) return 3e-4;
  return values.code_format() != nullptr ? 1e-4 : 1e-5;
}

TEST(Conformance, AnyPairAttendsAsItsDecodedRows) {
  const auto codecs = TestedCodecs();
  for (int head_dim : {8, 80, 128}) {
    CodecFixture f(128, head_dim, 6, 50);
    std::map<std::string, std::shared_ptr<const CodedPart>> keys, values;
    for (const auto& codec : codecs) {
      keys[codec->name()] = f.Encode(*codec, KvSide::kKey);
      values[codec->name()] = f.Encode(*codec, KvSide::kValue);
    }
    for (const auto& [k_name, k_part] : keys) {
      for (const auto& [v_name, v_part] : values) {
        SCOPED_TRACE(k_name + "/" + v_name + " " + std::to_string(head_dim));
        const CodedSegment segment(head_dim, Positions(f.pos), k_name + "/" + v_name, k_part,
                                   v_part);
        EXPECT_EQ(segment.bytes(), k_part->bytes() + v_part->bytes());
        std::vector<float> k(f.k.size()), v(f.v.size());
        ASSERT_TRUE(segment.Decode(0, 128, k.data(), v.data()).ok());
        ASSERT_EQ(k, DecodePart(*k_part, KvSide::kKey, head_dim));
        ASSERT_EQ(v, DecodePart(*v_part, KvSide::kValue, head_dim));

        std::vector<float> q(f.k.begin(), f.k.begin() + head_dim);
        for (float& x : q) x /= std::sqrt(static_cast<float>(head_dim)) * 3;
        const int32_t last = 1000;
        const QueryRows rows = {.q = q.data(),
                                .pos = &last,
                                .n_row = 1,
                                .head_dim = head_dim,
                                .pos_min = last,
                                .pos_max = last};
        AttendScratch scratch(head_dim);
        std::vector<float> memory(StateFloats(1, PaddedDim(head_dim)));
        const StateView state = MakeStateView(memory.data(), 1, PaddedDim(head_dim));
        ResetStates(state);
        // In two calls, the second of which continues the first's chain.
        const IndexRange parts[2][1] = {{{0, 40}}, {{40, 128}}};
        ASSERT_TRUE(segment.Attend(rows, parts[0], 0, scratch, state).ok());
        ASSERT_TRUE(segment.Attend(rows, parts[1], 0, scratch, state).ok());
        std::vector<float> out(head_dim);
        FinishStates(state, head_dim, out.data(), head_dim);
        const std::vector<double> expected = ExactAttention(q, k, v, head_dim);
        double scale = 0;
        for (double x : expected) scale = std::max(scale, std::fabs(x));
        for (int c = 0; c < head_dim; ++c) {
          ASSERT_NEAR(out[c], expected[c], AttendTolerance(*k_part, *v_part) * (1 + scale))
              << "channel " << c;
        }
      }
    }
  }
}

TEST(Conformance, AttentionOnCodesErrsAnOrderLessThanTheCodes) {
  constexpr int kDim = 64, kTokens = 213, kQueries = 16;  // the last tile is short
  static constexpr IndexRange kAll[] = {{0, kTokens}};
  CodecFixture f(kTokens, kDim, 11, 0);
  int n_tested = 0;
  for (const auto& codec : TestedCodecs()) {
    const auto k_part = f.Encode(*codec, KvSide::kKey), v_part = f.Encode(*codec, KvSide::kValue);
    if (k_part->code_format() == nullptr) continue;
    SCOPED_TRACE(codec->name());
    ++n_tested;
    const CodedSegment segment(kDim, Positions(f.pos), codec->name(), k_part, v_part);
    std::vector<float> k(f.k.size()), v(f.v.size()), memory(StateFloats(1, kDim)), out(kDim);
    ASSERT_TRUE(segment.Decode(0, kTokens, k.data(), v.data()).ok());
    AttendScratch scratch(kDim);
    const StateView state = MakeStateView(memory.data(), 1, kDim);
    double of_codes = 0, of_kernels = 0;
    for (int i = 0; i < kQueries; ++i) {
      std::vector<float> q(&f.k[i * 7 * kDim], &f.k[i * 7 * kDim] + kDim);
      for (float& x : q) x *= 0.1f;
      const int32_t last = 1000;
      const QueryRows rows = {.q = q.data(),
                              .pos = &last,
                              .n_row = 1,
                              .head_dim = kDim,
                              .pos_min = last,
                              .pos_max = last};
      ResetStates(state);
      ASSERT_TRUE(segment.Attend(rows, kAll, 0, scratch, state).ok());
      FinishStates(state, kDim, out.data(), kDim);
      const std::vector<double> exact = ExactAttention(q, f.k, f.v, kDim);
      const std::vector<double> decoded = ExactAttention(q, k, v, kDim);
      for (int c = 0; c < kDim; ++c) {
        of_codes += std::pow(decoded[c] - exact[c], 2);
        of_kernels += std::pow(out[c] - decoded[c], 2);
      }
    }
    EXPECT_LE(std::sqrt(of_kernels), 0.1 * std::sqrt(of_codes));
    RecordProperty(codec->name(), std::to_string(std::sqrt(of_kernels / of_codes)));
  }
  EXPECT_GE(n_tested, 4);
}

TEST(Conformance, ShortLastBlocksDecodeAsWell) {
  for (const auto& codec : TestedCodecs()) {
    for (KvSide side : kSides) {
      for (int n : {1, 5, 21, 133}) {
        SCOPED_TRACE(Where(*codec, side, 80) + " tokens " + std::to_string(n));
        CodecFixture f(n, 80, 10, 7);
        const auto part = f.Encode(*codec, side);
        EXPECT_EQ(part->bytes(), f.arena.used_bytes() + codec->head_bytes(side, 80));
        const std::vector<float> got = DecodePart(*part, side, 80);
        EXPECT_LE(RelativeError(got, side == KvSide::kKey ? f.k : f.v),
                  codec->name().find("bits=1") == std::string::npos ? 0.75 : 1.6);
      }
    }
  }
}

TEST(Conformance, ImpossibleInputIsRefused) {
  for (const auto& codec : TestedCodecs()) {
    SCOPED_TRACE(codec->name());
    CodecFixture f(codec->tail(KvSide::kValue).block, 64, 7);
    CodecInput input = f.Input(KvSide::kValue, f.v);
    const std::vector<int32_t> twice = {4, 4}, negative = {-1};
    for (std::span<const int32_t> pos :
         {std::span<const int32_t>(), std::span(twice), std::span(negative)}) {
      input.pos = pos;
      EXPECT_EQ(codec->Encode(input).status().code(), StatusCode::kInvalidArgument);
    }
  }
}

TEST(Conformance, RefusedMemoryIsReportedAndNothingIsKept) {
  for (const auto& codec : TestedCodecs()) {
    SCOPED_TRACE(codec->name());
    CodecFixture f(codec->tail(KvSide::kValue).block, 64, 7);
    ByteLedger full(1);
    SlabArena arena(full, ByteKind::kKv);
    CodecInput input = f.Input(KvSide::kValue, f.v);
    input.arena = &arena;
    EXPECT_EQ(codec->Encode(input).status().code(), StatusCode::kOutOfMemory);
    EXPECT_EQ(arena.used_bytes(), 0);
  }
}

TEST(Conformance, EveryIsaEncodesAndDecodesTheSameBits) {
  const Isa active = ActiveIsa();
  for (const auto& codec : TestedCodecs()) {
    for (KvSide side : kSides) {
      SCOPED_TRACE(Where(*codec, side, 96));
      CodecFixture f(codec->tail(side).block, 96, 7, 250);
      std::vector<float> expected;
      for (Isa isa : RunnableIsas()) {
        ForceIsa(isa);
        const std::vector<float> got = DecodePart(*f.Encode(*codec, side), side, 96);
        if (isa == Isa::kScalar) expected = got;
        EXPECT_EQ(got, expected) << IsaName(isa);
      }
    }
  }
  ForceIsa(active);
}

// Rows [first, first + n) of some queries.
QueryRows RowsOf(const std::vector<float>& q, const std::vector<int32_t>& pos, int first, int n,
                 int head_dim, int window) {
  return {.q = &q[first * head_dim],
          .pos = &pos[first],
          .n_row = n,
          .head_dim = head_dim,
          .pos_min = pos[first],
          .pos_max = pos[first + n - 1],
          .window = window};
}

// `state` is that of query `q` at `pos` over decoded rows k and v.
void ExpectExact(const StateView& state, const std::vector<float>& q, int32_t pos, int window,
                 const CodecFixture& f, const std::vector<float>& k, const std::vector<float>& v) {
  const int d = f.head_dim;
  std::vector<float> seen_k, seen_v, out(d);
  for (int t = 0; t < f.n_token; ++t) {
    if (f.pos[t] > pos || (window > 0 && f.pos[t] <= pos - window)) continue;
    seen_k.insert(seen_k.end(), &k[t * d], &k[t * d] + d);
    seen_v.insert(seen_v.end(), &v[t * d], &v[t * d] + d);
  }
  FinishStates(state, d, out.data(), d);
  std::vector<double> expected(d);
  if (!seen_k.empty()) expected = ExactAttention(q, seen_k, seen_v, d);
  for (int c = 0; c < d; ++c) EXPECT_NEAR(out[c], expected[c], 3e-4) << "position " << pos;
}

// Rows that see all, some and none of a segment, as many rows at once and one by one.
TEST(Conformance, RotatedFormatsKeepTheMask) {
  constexpr int kDim = 64, kTokens = 64;
  static constexpr IndexRange kAll[] = {{0, kTokens}};
  CodecFixture f(kTokens, kDim, 8, 100);
  for (const char* name : {"int4h", "q8_0", "q4_1", "turbo", "f16"}) {
    SCOPED_TRACE(name);
    const auto codec = MustMakeCodec(name);
    const CodedSegment segment(kDim, Positions(f.pos), name, f.Encode(*codec, KvSide::kKey),
                               f.Encode(*codec, KvSide::kValue));
    std::vector<float> k(f.k.size()), v(f.v.size());
    ASSERT_TRUE(segment.Decode(0, kTokens, k.data(), v.data()).ok());
    const std::vector<int32_t> pos = {50, 99, 100, 120, 163, 170, 190, 195, 300};
    const int n_row = static_cast<int>(pos.size()), window = 32;
    std::vector<float> q(f.v.begin(), f.v.begin() + n_row * kDim);
    AttendScratch scratch(kDim);
    const auto attend = [&](int first, int n, std::vector<float>& memory) {
      const QueryRows rows = RowsOf(q, pos, first, n, kDim, window);
      memory.resize(StateFloats(n, kDim));
      const StateView states = MakeStateView(memory.data(), n, kDim);
      ResetStates(states);
      EXPECT_TRUE(segment.Attend(rows, kAll, 0, scratch, states).ok());
      return states;
    };
    std::vector<float> memory, one_memory;
    const StateView states = attend(0, n_row, memory);
    for (int r = 0; r < n_row; ++r) {
      const StateView one = attend(r, 1, one_memory);
      EXPECT_EQ(std::memcmp(one.acc, states.acc + r * kDim, kDim * 4), 0) << "row " << r;
      ExpectExact(one, {&q[r * kDim], &q[r * kDim] + kDim}, pos[r], window, f, k, v);
    }
  }
}

// Sums stay in the basis of the values from one segment to the next: rows that see different ones
// of them, together and one by one.
TEST(Conformance, ARowsBasesAreItsOwn) {
  constexpr int kDim = 64, kTokens = 96, kPart = 16;
  CodecFixture f(kTokens, kDim, 8, 100);
  const DenseLayout layout = {.head_dim = kDim};
  std::mt19937 rng(5);
  for (int round = 0; round < 20; ++round) {
    SegmentList list(layout, f.arena);
    std::vector<std::shared_ptr<const Segment>> sealed;
    for (int begin = 0; begin < kTokens; begin += kPart) {
      static constexpr const char* kNames[] = {"int4h", "turbo", "q8_0", "f16"};
      const char* name = kNames[rng() % 4];
      const auto codec = MustMakeCodec(name);
      const auto encode = [&](KvSide side, const std::vector<float>& rows) {
        CodecInput input = f.Input(side, std::span(rows).subspan(begin * kDim, kPart * kDim));
        input.pos = std::span(f.pos).subspan(begin, kPart);
        return *codec->Encode(input);
      };
      sealed.push_back(std::make_shared<const CodedSegment>(
          kDim, Positions(std::span(f.pos).subspan(begin, kPart)), name, encode(KvSide::kKey, f.k),
          encode(KvSide::kValue, f.v)));
    }
    list.ReplaceSealed(sealed);
    std::vector<float> k(f.k.size()), v(f.v.size());
    ASSERT_TRUE(list.Decode(0, kTokens, k.data(), v.data()).ok());
    const int window = round % 2 == 0 ? 24 : 0;
    const std::vector<int32_t> pos = {100, 110, 119, 130, 147, 160, 180, 195, 195};
    const int n_row = static_cast<int>(pos.size());
    std::vector<float> q(f.v.begin(), f.v.begin() + n_row * kDim);
    for (float& x : q) x *= 0.2f;
    AttendScratch scratch(kDim);
    const auto attend = [&](int first, int n, std::vector<float>& memory) {
      const QueryRows rows = RowsOf(q, pos, first, n, kDim, window);
      memory.resize(StateFloats(n, kDim));
      const StateView states = MakeStateView(memory.data(), n, kDim);
      ResetStates(states);
      EXPECT_TRUE(list.AttendRange(rows, 0, kTokens, scratch, states).ok());
      return states;
    };
    std::vector<float> memory, one_memory;
    const StateView states = attend(0, n_row, memory);
    for (int r = 0; r < n_row; ++r) {
      const StateView one = attend(r, 1, one_memory);
      EXPECT_EQ(std::memcmp(one.acc, states.acc + r * kDim, kDim * 4), 0) << "row " << r;
      ExpectExact(one, {&q[r * kDim], &q[r * kDim] + kDim}, pos[r], window, f, k, v);
    }
  }
}

TEST(Conformance, WeightsOfRotatedKeysAreThoseOfDecodedRows) {
  constexpr int kDim = 80, kTokens = 64;
  CodecFixture f(kTokens, kDim, 9);
  const auto codec = MustMakeCodec("q4_0", {{"", "had"}});
  const CodedSegment segment(kDim, Positions(f.pos), "q4_0(had)", f.Encode(*codec, KvSide::kKey),
                             f.Encode(*codec, KvSide::kValue));
  std::vector<float> k(f.k.size()), v(f.v.size()), q(f.v.begin(), f.v.begin() + kDim);
  ASSERT_TRUE(segment.Decode(0, kTokens, k.data(), v.data()).ok());
  for (float& x : q) x *= 0.2f;
  const int32_t pos = kTokens;
  const QueryRows rows = {
      .q = q.data(), .pos = &pos, .n_row = 1, .head_dim = kDim, .pos_min = pos, .pos_max = pos};
  const RowNorm norm = {.exponent = 0, .inv_sum = 1};
  AttendScratch scratch(kDim);
  std::vector<float> weights;
  ASSERT_TRUE(segment
                  .VisitWeights(rows, &norm, 0, kTokens, scratch,
                                [&](const float* w, int, int, int64_t, int n) {
                                  weights.insert(weights.end(), w, w + n);
                                })
                  .ok());
  ASSERT_EQ(weights.size(), size_t{kTokens});
  for (int t = 0; t < kTokens; ++t) {
    double logit = 0;
    for (int c = 0; c < kDim; ++c) logit += double{q[c]} * k[t * kDim + c];
    EXPECT_NEAR(weights[t] / std::exp2(logit), 1, 3e-4) << "token " << t;
  }
}

TEST(Conformance, HeadsThatAreTooLargeAreRefusedByName) {
  for (const auto& codec : TestedCodecs()) {
    EXPECT_TRUE(codec->CheckShape(kMaxHeadDim).ok());
    const Status status = codec->CheckShape(kMaxHeadDim + 1);
    EXPECT_EQ(status.code(), StatusCode::kUnsupported);
    EXPECT_NE(status.message().find("513"), std::string::npos) << status.message();
  }
}

}  // namespace
}  // namespace kvasir
