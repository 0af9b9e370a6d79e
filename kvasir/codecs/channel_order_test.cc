#include "kvasir/codecs/channel_order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "kvasir/codecs/channel_rotation.h"
#include "kvasir/codecs/codec_testing.h"
#include "kvasir/codecs/reposition.h"

namespace kvasir {
namespace {

constexpr ChannelSort kSorts[] = {ChannelSort::kEnergy, ChannelSort::kRange, ChannelSort::kMean};
constexpr const char* kSortNames[] = {"energy", "range", "mean"};
constexpr KvSide kSides[] = {KvSide::kKey, KvSide::kValue};

std::shared_ptr<const ChannelOrder> MustFind(ChannelSort sort, std::span<const float> rows, int d,
                                             int group, ByteLedger& ledger) {
  auto order = ChannelOrder::Find(sort, rows, d, group, ledger);
  EXPECT_TRUE(order.ok()) << order.status().ToString();
  return *order;
}

TEST(ChannelOrder, IsAPermutationAndItsInverseUndoesIt) {
  std::mt19937 rng(1);
  for (int d : {16, 48, 64, 80, 128, 256, 512}) {
    for (ChannelSort sort : kSorts) {
      CodecFixture f(40, d, rng());
      const auto order = MustFind(sort, f.k, d, 32, f.ledger);
      std::vector<uint16_t> sorted(order->channels().begin(), order->channels().end());
      std::ranges::sort(sorted);
      for (int c = 0; c < d; ++c) ASSERT_EQ(sorted[c], c);
      for (bool hadamard : {false, true}) {
        ChannelBasis basis(d, hadamard, hadamard);
        basis.set_order(order);
        std::vector<float> row(f.v.begin(), f.v.begin() + d), tile(d * 16);
        for (int e = 0; e < d * 16; ++e) tile[e] = f.v[e % 16 * d + e / 16];  // (d, 16)
        double dot = 0, stored_dot = 0;
        std::vector<float> other(f.k.begin(), f.k.begin() + d), q = other;
        for (int c = 0; c < d; ++c) dot += double{row[c]} * other[c];
        basis.Forward(row.data());
        basis.Forward(q.data());
        for (int c = 0; c < d; ++c) stored_dot += double{row[c]} * q[c];
        EXPECT_NEAR(stored_dot, dot, hadamard ? 1e-4 * d : 1e-9);
        for (int t = 0; t < 16; ++t) {
          std::vector<float> column(f.v.begin() + t * d, f.v.begin() + (t + 1) * d);
          basis.Forward(column.data());
          for (int c = 0; c < d; ++c) tile[c * 16 + t] = column[c];
        }
        basis.Backward(row.data());
        basis.BackwardLanes(tile.data());
        for (int c = 0; c < d; ++c) {
          const float tolerance = hadamard ? 1e-5f : 0.0f;
          EXPECT_NEAR(row[c], f.v[c], tolerance);
          for (int t = 0; t < 16; ++t) EXPECT_NEAR(tile[c * 16 + t], f.v[t * d + c], tolerance);
        }
      }
    }
  }
}

TEST(ChannelOrder, PutsLikeBesideLike) {
  // 64 channels: every eighth has a mean of +-10 by turns.
  constexpr int kDim = 64;
  std::mt19937 rng(2);
  std::normal_distribution<float> normal;
  std::vector<float> rows(kDim * 50);
  for (size_t e = 0; e < rows.size(); ++e) {
    const int c = static_cast<int>(e) % kDim;
    rows[e] = normal(rng) + (c % 8 != 3 ? 0.0f : c % 16 == 3 ? 10.0f : -10.0f);
  }
  ByteLedger ledger;
  const auto group_of = [&](ChannelSort sort, int channel) {
    const auto order = MustFind(sort, rows, kDim, 16, ledger);
    return (std::ranges::find(order->channels(), channel) - order->channels().begin()) / 16;
  };
  for (int c = 3; c < kDim; c += 8) {
    EXPECT_EQ(group_of(ChannelSort::kEnergy, c), 3) << c;
    EXPECT_EQ(group_of(ChannelSort::kMean, c), c % 16 == 3 ? 3 : 0) << c;
    EXPECT_EQ(group_of(ChannelSort::kRange, c), group_of(ChannelSort::kRange, c % 16)) << c;
  }
  EXPECT_NE(group_of(ChannelSort::kRange, 3), group_of(ChannelSort::kRange, 11));
  // What is alike stays as it was.
  const std::vector<float> even(kDim * 4, 1.5f);
  for (ChannelSort sort : kSorts) {
    const auto order = MustFind(sort, even, kDim, 16, ledger);
    for (int c = 0; c < kDim; ++c) EXPECT_EQ(order->channels()[c], c);
  }
  EXPECT_EQ(ledger.held(), 0);
}

TEST(ChannelOrder, IsChargedOnceAndRefusedByName) {
  CodecFixture f(32, 64, 3);
  ByteLedger ledger;
  {
    const auto order = MustFind(ChannelSort::kEnergy, f.k, 64, 32, ledger);
    EXPECT_EQ(ledger.held(ByteKind::kIndex), ChannelOrder::Bytes(64));
    EXPECT_EQ(order->bytes(), ChannelOrder::Bytes(64));
  }
  EXPECT_EQ(ledger.held(), 0);
  ByteLedger full(100);
  EXPECT_EQ(ChannelOrder::Find(ChannelSort::kMean, f.k, 64, 32, full).status().code(),
            StatusCode::kOutOfMemory);
}

TEST(ChannelOrder, ChangesNothingWhereTheHeadIsOneGroup) {
  for (const char* name : {"q4_0", "q8_0", "q4_1"}) {
    for (KvSide side : kSides) {
      CodecFixture f(64, 32, 4);
      for (const char* sort : kSortNames) {
        const auto sorted = MustMakeCodec(name, {{"order", sort}});
        EXPECT_EQ(sorted->head_bytes(side, 32), 0);
        EXPECT_EQ(sorted->bits_per_element(side, 32),
                  MustMakeCodec(name)->bits_per_element(side, 32));
        const auto part = f.Encode(*sorted, side);
        EXPECT_EQ(part->traits(), nullptr);
        EXPECT_EQ(DecodePart(*part, side, 32),
                  DecodePart(*f.Encode(*MustMakeCodec(name), side), side, 32));
      }
    }
  }
}

// 8 bits: what sorting must not change shows above the rounding.
TEST(ChannelOrder, WideCodesGiveTheRowsBack) {
  std::mt19937 rng(5);
  for (int d : {64, 80, 96, 128, 256}) {
    for (const char* sort : kSortNames) {
      for (const CodecArgs& args : {CodecArgs{{"bits", "8"}, {"order", sort}},
                                    CodecArgs{{"bits", "8"}, {"", "raw"}, {"order", sort}}}) {
        CodecFixture f(48, d, rng(), 77);
        const auto codec = MustMakeCodec("group", args);
        for (KvSide side : kSides) {
          SCOPED_TRACE(codec->name() + " " + std::to_string(d));
          EXPECT_LE(RelativeError(DecodePart(*f.Encode(*codec, side), side, d),
                                  side == KvSide::kKey ? f.k : f.v),
                    0.01);
        }
      }
    }
  }
}

TEST(ChannelOrder, LaterTokensTakeTheOrderOfTheFirst) {
  CodecFixture f(256, 128, 6), other(64, 128, 7);
  // The other head's outliers lie elsewhere.
  std::ranges::rotate(other.k, other.k.begin() + 9);
  const auto codec = MustMakeCodec("q4_0", {{"order", "energy"}});
  const auto first = f.Encode(*codec, KvSide::kKey);
  CodecInput input = other.Input(KvSide::kKey, other.k);
  input.traits = first->traits();
  const auto later = codec->Encode(input);
  ASSERT_TRUE(later.ok());
  EXPECT_EQ((*later)->traits(), first->traits());
  EXPECT_EQ((*later)->bytes(), static_cast<int64_t>(other.arena.used_bytes()));
  EXPECT_EQ(first->bytes(), f.arena.used_bytes() + ChannelOrder::Bytes(128));
  // What another format learnt is of no use.
  const auto by_range = MustMakeCodec("q4_0", {{"order", "range"}});
  const auto fresh = by_range->Encode(input);
  ASSERT_TRUE(fresh.ok());
  EXPECT_NE((*fresh)->traits(), first->traits());
  // Gathered tokens keep it, and its bytes.
  const std::vector<int32_t> keep = {0, 5, 17, 200};
  const auto gathered = first->Gather(keep);
  ASSERT_TRUE(gathered.ok());
  EXPECT_EQ((*gathered)->traits(), first->traits());
  EXPECT_EQ(f.ledger.held(ByteKind::kIndex), ChannelOrder::Bytes(128));
}

TEST(ChannelOrder, DoesNotDependOnHowManyTokensComeAtOnce) {
  CodecFixture f(512, 128, 8);
  const auto codec = MustMakeCodec("q4_0", {{"order", "range"}});
  EXPECT_EQ(codec->tail(KvSide::kKey).first, kOrderTokens);
  const auto whole = f.Encode(*codec, KvSide::kKey);
  CodecInput input = f.Input(KvSide::kKey, std::span(f.k).first(kOrderTokens * 128));
  const auto first = codec->Encode(input);
  ASSERT_TRUE(first.ok());
  const auto* a = dynamic_cast<const ChannelOrder*>(whole->traits().get());
  const auto* b = dynamic_cast<const ChannelOrder*>((*first)->traits().get());
  EXPECT_TRUE(std::ranges::equal(a->channels(), b->channels()));
}

TEST(ChannelOrder, RotatedChannelsMayBeSortedByMeanAlone) {
  const auto error = [](const CodecArgs& args) {
    double sum = 0;
    for (uint32_t seed = 0; seed < 8; ++seed) {
      CodecFixture f(256, 128, 20 + seed);
      // Before RoPE the outliers of a key are constant: what a sort by mean can use.
      std::vector<float> raw = f.k;
      for (int t = 0; t < 256; ++t) {
        std::vector<float> table(128);
        f.rope.FillTable({&f.pos[t], 1}, table.data());
        f.rope.Apply(&f.k[t * 128], table.data());
      }
      const auto codec = MustMakeCodec("group", args);
      sum += RelativeError(DecodePart(*f.Encode(*codec, KvSide::kKey), KvSide::kKey, 128), f.k);
    }
    return sum / 8;
  };
  const CodecArgs rotated = {{"bits", "2"}, {"g", "32"}, {"", "had"}, {"", "raw"}};
  CodecArgs sorted = rotated;
  sorted.push_back({"order", "mean"});
  EXPECT_LE(error(sorted), 0.95 * error(rotated));
  for (const char* sort : {"energy", "range"}) {
    CodecArgs refused = rotated;
    refused.push_back({"order", sort});
    EXPECT_EQ(MakeCodec("group", refused).status().code(), StatusCode::kInvalidArgument) << sort;
  }
}

}  // namespace
}  // namespace kvasir
