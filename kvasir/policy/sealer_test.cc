#include "kvasir/policy/sealer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <set>

#include "kvasir/codecs/codec_testing.h"
#include "kvasir/codecs/kept_traits.h"
#include "kvasir/codecs/reposition.h"
#include "kvasir/core/byte_ledger.h"
#include "kvasir/model/rope.h"

namespace kvasir {
namespace {

constexpr int kHeadDim = 64;

// A list that grows token by token and is sealed after each, beside its rows.
class GrowingList {
 public:
  GrowingList(std::shared_ptr<const KvCodec> k, std::shared_ptr<const KvCodec> v)
      : sealer_(std::move(k), std::move(v)),
        arena_(ledger_, ByteKind::kKv),
        list_({kHeadDim, TileFormat::kF16, TileFormat::kF16}, arena_) {}

  Status Grow(int n, int step) {
    for (int done = 0; done < n; done += step) {
      const int m = std::min(step, n - done);
      std::vector<int32_t> pos;
      const size_t from = k_.size();
      for (int i = 0; i < m; ++i) {
        pos.push_back(static_cast<int32_t>(list_.n_kv()) + i);
        for (int j = 0; j < kHeadDim; ++j) {
          k_.push_back(normal_(rng_));
          v_.push_back(normal_(rng_));
        }
      }
      KVASIR_RETURN_IF_ERROR(list_.Append(pos, &k_[from], &v_[from], kHeadDim));
      const std::vector<float> importance(static_cast<size_t>(list_.n_kv()), 1.0f);
      KVASIR_RETURN_IF_ERROR(
          sealer_.Seal({0, 0, &rope_, &arena_, importance, {}, joins}, list_).status());
    }
    return Status::Ok();
  }
  SegmentList& list() { return list_; }
  bool joins = false;
  // Of one query against all tokens.
  std::vector<float> Attended() {
    const std::vector<float> q(k_.begin(), k_.begin() + kHeadDim);
    const auto last = static_cast<int32_t>(list_.n_kv());
    const QueryRows rows = {.q = q.data(),
                            .pos = &last,
                            .n_row = 1,
                            .head_dim = kHeadDim,
                            .pos_min = last,
                            .pos_max = last};
    AttendScratch scratch(kHeadDim);
    std::vector<float> memory(StateFloats(1, kHeadDim)), out(kHeadDim);
    const StateView state = MakeStateView(memory.data(), 1, kHeadDim);
    ResetStates(state);
    EXPECT_TRUE(list_.Attend(rows, scratch, state).ok());
    FinishStates(state, kHeadDim, out.data(), kHeadDim);
    return out;
  }
  // Largest difference to what was appended, keys and values.
  std::pair<float, float> WorstError() const {
    std::vector<float> k(k_.size()), v(v_.size());
    EXPECT_TRUE(list_.Decode(0, list_.n_kv(), k.data(), v.data()).ok());
    float k_worst = 0, v_worst = 0;
    for (size_t i = 0; i < k.size(); ++i) {
      k_worst = std::max(k_worst, std::abs(k[i] - k_[i]));
      v_worst = std::max(v_worst, std::abs(v[i] - v_[i]));
    }
    return {k_worst, v_worst};
  }
  std::vector<std::string> Formats() const {
    std::vector<std::string> formats;
    for (const auto& segment : list_.sealed()) formats.emplace_back(segment->format());
    return formats;
  }

 private:
  static RopeSpec PlainRope() {
    RopeSpec spec;
    spec.n_rot = kHeadDim;
    return spec;
  }

  Sealer sealer_;
  Rope rope_{PlainRope(), 4096};
  ByteLedger ledger_;
  SlabArena arena_;
  SegmentList list_;
  std::mt19937 rng_{5};
  std::normal_distribution<float> normal_;
  std::vector<float> k_, v_;
};

std::shared_ptr<const KvCodec> Codec(const char* name, const CodecArgs& args = {}) {
  return *MakeCodec(name, args);
}

TEST(Sealer, SealsBothSidesTogetherWhereTheirRulesAgree) {
  GrowingList grown(Codec("q8_0"), Codec("q8_0"));
  ASSERT_TRUE(grown.Grow(100, 7).ok());
  EXPECT_EQ(grown.list().tail().n_kv(), 100 % 16);
  EXPECT_EQ(grown.Formats().front(), "q8_0/q8_0");
  const auto [k, v] = grown.WorstError();
  EXPECT_LT(k, 0.03f);
  EXPECT_LT(v, 0.03f);
}

TEST(Sealer, LeavesASideWithoutCodecAsItIs) {
  GrowingList grown(nullptr, Codec("q4_0"));
  ASSERT_TRUE(grown.Grow(64, 64).ok());
  EXPECT_EQ(grown.Formats(), std::vector<std::string>{"dense/q4_0"});
  const auto [k, v] = grown.WorstError();
  EXPECT_LT(k, 0.002f);  // f16
  EXPECT_GT(v, 0.05f);
}

TEST(Sealer, LetsKeysAndValuesLeaveTheTailAtDifferentTimes) {
  const auto kivi = Codec("kivi", {{"", "4"}});
  const TailRule k_rule = kivi->tail(KvSide::kKey), v_rule = kivi->tail(KvSide::kValue);
  ASSERT_LT(k_rule.keep, v_rule.keep);
  GrowingList grown(kivi, kivi);
  const int n = 2 * k_rule.block + v_rule.keep;
  ASSERT_TRUE(grown.Grow(n, 1).ok());
  // Values newer than their rule allows wait densely beside sealed keys.
  const auto formats = grown.Formats();
  EXPECT_EQ(formats.front(), kivi->name() + "/" + kivi->name());
  EXPECT_EQ(formats.back(), kivi->name() + "/dense");
  EXPECT_LT(grown.list().tail().n_kv(), k_rule.block);
  // The end state is the one of a list that was sealed in one go.
  GrowingList whole(kivi, kivi);
  ASSERT_TRUE(whole.Grow(n, n).ok());
  EXPECT_EQ(grown.WorstError(), whole.WorstError());
}

TEST(Sealer, KeepsTheNewestTokensExact) {
  const auto kivi = Codec("kivi", {{"", "2"}});
  GrowingList grown(kivi, kivi);
  ASSERT_TRUE(grown.Grow(1000, 33).ok());
  GrowingList dense(nullptr, nullptr);
  ASSERT_TRUE(dense.Grow(1000, 33).ok());
  const int keep = kivi->tail(KvSide::kValue).keep;
  std::vector<float> k(static_cast<size_t>(keep) * kHeadDim), v(k.size()), k2(k), v2(k);
  ASSERT_TRUE(grown.list().Decode(1000 - keep, 1000, k.data(), v.data()).ok());
  ASSERT_TRUE(dense.list().Decode(1000 - keep, 1000, k2.data(), v2.data()).ok());
  EXPECT_EQ(v, v2);
}

// Rows are rounded to the tail's format when they come and by the codec when they seal, and never
// in between: keys that stand at other angles than they are stored at are turned in f32.
TEST(Sealer, KeysThatTurnAreRoundedByNothingButTheirCodec) {
  for (const char* name : {"q4_1", "q8_0", "kivi", "kvquant"}) {
    SCOPED_TRACE(name);
    const auto codec = Codec(name);
    RopeSpec spec;
    spec.n_rot = kHeadDim;
    const Rope rope(spec, 4096);
    ByteLedger ledger;
    SlabArena arena(ledger, ByteKind::kKv);
    SegmentList list({kHeadDim, TileFormat::kF16, TileFormat::kF16}, arena);
    const Repositioner repositioner(rope, ledger);
    std::mt19937 rng(7);
    std::normal_distribution<float> normal;
    const auto append = [&](int n, int32_t first) {
      std::vector<int32_t> pos(n);
      std::iota(pos.begin(), pos.end(), first);
      std::vector<float> k(static_cast<size_t>(n) * kHeadDim), v(k.size());
      for (float& x : k) x = normal(rng);
      for (float& x : v) x = normal(rng);
      ASSERT_TRUE(list.Append(pos, k.data(), v.data(), kHeadDim).ok());
    };
    const auto rows = [&] {
      std::vector<float> k(static_cast<size_t>(list.n_kv()) * kHeadDim), v(k.size());
      EXPECT_TRUE(list.Decode(0, list.n_kv(), k.data(), v.data()).ok());
      return std::pair(k, v);
    };
    const TailRule rule = codec->tail(KvSide::kKey);
    const int sinks = (rule.sinks + 15) / 16 * 16, n_block = rule.block, n_first = n_block + 4;
    append(sinks, 0);
    list.SealTail(sinks);
    append(n_first, 500);
    list.SealTail(n_first);
    std::vector<int32_t> pos(n_first);
    std::iota(pos.begin(), pos.end(), sinks);
    std::vector<std::shared_ptr<const Segment>> sealed(list.sealed().begin(), list.sealed().end());
    sealed.back() = *repositioner.Renumber(sealed.back(), pos);
    list.ReplaceSealed(sealed);

    const Sealer sealer(codec, nullptr);
    for (int round = 0; round < 2; ++round) {
      const auto [k, v] = rows();
      ASSERT_TRUE(sealer.Seal({0, 0, &rope, &arena, {}, {}}, list).ok());
      const auto [k_now, v_now] = rows();
      EXPECT_EQ(v_now, v);
      // The block that was sealed is what the codec makes of the rows as they were read.
      const int64_t begin = sinks + round * n_block, end = begin + n_block;
      CodecInput input;
      input.head_dim = kHeadDim;
      std::vector<int32_t> block_pos = list.AllPositions();
      input.pos = std::span(block_pos).subspan(begin, n_block);
      input.rows = &k[begin * kHeadDim];
      input.rope = &rope;
      input.arena = &arena;
      const auto part = codec->Encode(input);
      ASSERT_TRUE(part.ok()) << part.status().ToString();
      const auto got = std::span(k_now).subspan(begin * kHeadDim, n_block * kHeadDim);
      EXPECT_TRUE(std::ranges::equal(got, DecodePart(**part, KvSide::kKey, kHeadDim)));
      // All others kept their bits.
      EXPECT_TRUE(std::equal(k.begin(), k.begin() + begin * kHeadDim, k_now.begin()));
      EXPECT_TRUE(std::equal(k.begin() + end * kHeadDim, k.end(), k_now.begin() + end * kHeadDim));
      append(n_block, list.pos(list.n_kv() - 1) + 1);
    }
    // What came after the renumbering stands at its own angles and is a plain tail in the end.
    ASSERT_TRUE(sealer.Seal({0, 0, &rope, &arena, {}, {}}, list).ok());
    EXPECT_EQ(list.tail().n_kv(), 4);
  }
}

// What a format learns of a head is learnt once, however the tokens arrive and the list forks.
TEST(Sealer, ChannelOrdersAreThoseOfTheFirstBlock) {
  const auto q4 = Codec("q4_0", {{"order", "energy"}}), kivi = Codec("kivi", {{"", "2"}});
  const std::pair<std::shared_ptr<const KvCodec>, std::shared_ptr<const KvCodec>> pairs[] = {
      {q4, Codec("group", {{"g", "16"}, {"order", "range"}})},
      {q4, nullptr},
      {q4, kivi},
      {kivi, q4},
      {Codec("q8_0"), q4}};
  for (const auto& [k, v] : pairs) {
    SCOPED_TRACE(k->name() + "/" + (v == nullptr ? "dense" : v->name()));
    GrowingList grown(k, v), whole(k, v);
    ASSERT_TRUE(grown.Grow(700, 1).ok());
    ASSERT_TRUE(whole.Grow(700, 700).ok());
    EXPECT_EQ(grown.WorstError(), whole.WorstError());
    for (GrowingList* list : {&grown, &whole}) {
      SegmentList fork = *list->list().Fork();
      ASSERT_TRUE(list->Grow(200, 7).ok());
      std::set<const HeadTraits*> keys, values;
      for (const SegmentList* each : {&list->list(), &fork}) {
        EXPECT_EQ(KeptTraits(*each, KvSide::kKey), KeptTraits(list->list(), KvSide::kKey));
        for (const auto& segment : each->sealed()) {
          const auto& coded = dynamic_cast<const CodedSegment&>(*segment);
          keys.insert(coded.k()->traits().get());
          values.insert(coded.v()->traits().get());
        }
      }
      // One of each, or none where the side has no order or waits densely.
      const auto learnt = [](const KvCodec* codec, KvSide side) {
        return codec == nullptr ? 0 : codec->head_bytes(side, kHeadDim);
      };
      const int64_t k_bytes = learnt(k.get(), KvSide::kKey);
      const int64_t v_bytes = learnt(v.get(), KvSide::kValue);
      keys.erase(nullptr);
      values.erase(nullptr);
      EXPECT_EQ(keys.size(), k_bytes > 0 ? 1u : 0u);
      EXPECT_EQ(values.size(), v_bytes > 0 ? 1u : 0u);
    }
  }
}

TEST(Sealer, ARewindIntoTheFirstBlockKeepsWhatWasLearntThere) {
  const auto codec = Codec("q4_0", {{"order", "energy"}});
  GrowingList grown(codec, codec);
  ASSERT_TRUE(grown.Grow(300, 300).ok());
  const auto keys = KeptTraits(grown.list(), KvSide::kKey);
  ASSERT_NE(keys, nullptr);
  grown.list().Truncate(37);
  EXPECT_EQ(KeptTraits(grown.list(), KvSide::kKey), keys);
  ByteLedger ledger;
  const Rope rope = [] {
    RopeSpec spec;
    spec.n_rot = kHeadDim;
    return Rope(spec, 4096);
  }();
  std::vector<std::shared_ptr<const Segment>> moved(grown.list().sealed().begin(),
                                                    grown.list().sealed().end());
  moved.front() = *Repositioner(rope, ledger).Shift(moved.front(), 5);
  grown.list().ReplaceSealed(moved);
  EXPECT_EQ(KeptTraits(grown.list(), KvSide::kKey), keys);
}

TEST(Sealer, AFormatThatLearnsWaitsForEnoughTokens) {
  const auto codec = Codec("q4_0", {{"order", "energy"}});
  GrowingList grown(codec, codec);
  ASSERT_TRUE(grown.Grow(127, 1).ok());
  EXPECT_EQ(grown.list().tail().n_kv(), 127);
  ASSERT_TRUE(grown.Grow(1, 1).ok());
  EXPECT_EQ(grown.list().tail().n_kv(), 0);
  ASSERT_TRUE(grown.Grow(16, 1).ok());
  EXPECT_EQ(grown.list().tail().n_kv(), 0);
}

TEST(Sealer, WhatIsSealedBlockByBlockJoinsAndKeepsItsBits) {
  for (const char* name : {"q8_0", "q4_0", "q4_1", "kivi", "iq4_nl", "int4h"}) {
    const auto codec = Codec(name);
    GrowingList joined(codec, codec), apart(codec, codec);
    joined.joins = true;
    for (int step : {512, 1, 300, 7}) {
      SCOPED_TRACE(std::string(name) + " step " + std::to_string(step));
      ASSERT_TRUE(joined.Grow(900, step).ok());
      ASSERT_TRUE(apart.Grow(900, step).ok());
      ASSERT_EQ(joined.list().n_kv(), apart.list().n_kv());
      EXPECT_EQ(joined.list().AllPositions(), apart.list().AllPositions());
      EXPECT_EQ(joined.list().bytes(), apart.list().bytes());
      EXPECT_EQ(joined.WorstError(), apart.WorstError());
      EXPECT_EQ(joined.Attended(), apart.Attended());
    }
    if (codec->name() == "kivi") continue;  // seals larger blocks
    EXPECT_GT(apart.list().sealed().size(), 50u) << name;
    EXPECT_LT(joined.list().sealed().size(), 12u) << name;
  }
}

TEST(Sealer, ASegmentThatAForkHoldsStaysAsItIs) {
  const auto codec = Codec("q8_0");
  GrowingList grown(codec, codec);
  grown.joins = true;
  ASSERT_TRUE(grown.Grow(64, 64).ok());
  const Result<SegmentList> fork = grown.list().Fork();
  ASSERT_TRUE(fork.ok());
  const auto held = fork->sealed().back();
  ASSERT_TRUE(grown.Grow(200, 16).ok());
  EXPECT_EQ(grown.list().sealed().front(), held);
  EXPECT_EQ(held->n_kv(), 64);
}

TEST(Sealer, KeepsEveryCodecsTokensInOrder) {
  for (const CodecEntry& entry : Codecs()) {
    const auto codec = Codec(std::string(entry.info->name).c_str());
    if (!codec->CheckShape(kHeadDim).ok()) continue;
    GrowingList grown(codec, codec);
    const Status status = grown.Grow(700, 50);
    ASSERT_TRUE(status.ok()) << entry.info->name << ": " << status.ToString();
    const auto pos = grown.list().AllPositions();
    ASSERT_EQ(pos.size(), 700u);
    for (int i = 0; i < 700; ++i) ASSERT_EQ(pos[i], i) << entry.info->name;
    EXPECT_LT(grown.list().tail().n_kv(), 600) << entry.info->name;
  }
}

}  // namespace
}  // namespace kvasir
