// What every selector must do, walked over the table.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numeric>

#include "kvasir/cache/sequence_cache.h"
#include "kvasir/policy/selectors/selector_testing.h"

namespace kvasir {
namespace {

struct Case {
  std::string name;
  WrittenArgs args;
  int64_t budget;  // tokens a query head reads
};

// Small budgets, so that short lists already leave something out.
std::vector<Case> Cases() {
  std::vector<Case> cases;
  for (const char* group : {"sum", "max", "head"}) {
    cases.push_back({"quest", {{"pages", "6"}, {"group", group}, {"dense", "0"}}, 96});
    cases.push_back({"lserve", {{"tokens", "256"}, {"group", group}}, 256});
    cases.push_back({"lserve", {{"tokens", "128"}, {"reuse", "1"}, {"group", group}}, 128});
    // So few super-pages are opened that some stay closed.
    cases.push_back(
        {"twolevel", {{"tokens", "96"}, {"recent", "20"}, {"open", "1"}, {"group", group}}, 96});
    cases.push_back(
        {"twolevel", {{"tokens", "160"}, {"reuse", "3"}, {"sink", "30"}, {"group", group}}, 160});
  }
  return cases;
}

std::vector<std::tuple<int, int>> GroupsAndDims() {
  return {{1, 64}, {2, 16}, {8, 128}, {4, 256}, {3, 80}};
}

TEST(Selectors, EveryOneOfTheTableIsTested) {
  for (const SelectorInfo* info : Selectors()) {
    const auto cases = Cases();
    EXPECT_TRUE(std::any_of(cases.begin(), cases.end(), [&](const Case& c) {
      return c.name == info->name;
    })) << info->name;
    EXPECT_FALSE(info->summary.empty());
    for (const SelectorParam& param : info->params) EXPECT_FALSE(param.help.empty()) << param.name;
  }
}

TEST(Selectors, CertificateNeverExceedsTheAttendedMass) {
  for (const Case& c : Cases()) {
    for (const auto& [group, d] : GroupsAndDims()) {
      for (float spread : {0.02f, 0.5f}) {
        for (TileFormat format : {TileFormat::kF16, TileFormat::kF32}) {
          SelectedPair pair(c.name, c.args, group, d, format);
          ASSERT_TRUE(pair.Append(pair.RandomKeys(900)).ok());
          for (int i = 0; i < 4; ++i) {
            const float softcap = i % 4 == 3 ? 4.0f : 0.0f;
            const auto step = pair.Select(pair.RandomQueries(spread), softcap);
            ASSERT_FALSE(step.all);
            for (size_t r = 0; r < step.certificate.size(); ++r) {
              ASSERT_TRUE(step.certificate[r] >= 0 && step.certificate[r] <= step.mass[r])
                  << c.name << " row " << r << ": " << step.certificate[r] << " against "
                  << step.mass[r];
            }
            ASSERT_TRUE(pair.Append(pair.RandomKeys(1)).ok());
          }
        }
      }
    }
  }
}

TEST(Selectors, CertificateIsOneWhenEverythingIsRead) {
  for (const Case& c : Cases()) {
    SelectedPair pair(c.name, c.args, 4, 32);
    ASSERT_TRUE(pair.Append(pair.RandomKeys(c.budget)).ok());
    const auto step = pair.Select(pair.RandomQueries());
    EXPECT_TRUE(step.all) << c.name;
    EXPECT_EQ(step.certificate, std::vector<float>(4, 1.0f)) << c.name;
  }
}

TEST(Selectors, CertificateComesNearTheMassOfAPeakedHead) {
  for (const Case& c : Cases()) {
    SelectedPair pair(c.name, c.args, 1, 64);
    std::vector<float> k = pair.RandomKeys(1000, 0.01f);
    for (int j = 0; j < 64; ++j) k[320 * 64 + j] = 2.0f;
    ASSERT_TRUE(pair.Append(k).ok());
    const auto step = pair.Select(std::vector<float>(64, 0.5f));
    for (float share : step.certificate) EXPECT_GT(share, 0.999f) << c.name;
  }
}

TEST(Selectors, ReadNoMoreThanTheBudget) {
  for (const Case& c : Cases()) {
    const bool heads = std::any_of(c.args.begin(), c.args.end(),
                                   [](const auto& arg) { return arg.second == "head"; });
    for (int group : {1, 2, 4, 8}) {
      SelectedPair pair(c.name, c.args, group, 32);
      ASSERT_TRUE(pair.Append(pair.RandomKeys(1003)).ok());
      for (int i = 0; i < 40; ++i) {
        const auto step = pair.Select(pair.RandomQueries());
        ASSERT_FALSE(step.all);
        EXPECT_LE(step.n_attended(), c.budget * (heads ? group : 1) + i) << c.name;
        EXPECT_TRUE(step.Contains(pair.list().n_kv() - 1)) << c.name;
        ASSERT_TRUE(pair.Append(pair.RandomKeys(1)).ok());
      }
    }
  }
}

TEST(Selectors, FindTheNeedleWhereverItIs) {
  for (const Case& c : Cases()) {
    for (int group : {1, 2, 4, 8}) {
      for (int64_t needle : {0, 16, 511, 777, 999}) {
        SelectedPair pair(c.name, c.args, group, 64);
        std::vector<float> k = pair.RandomKeys(1000);
        std::vector<float> q = pair.RandomQueries(0.1f);
        // The first query head wants it; the others do not care.
        for (int j = 0; j < 64; ++j) k[static_cast<size_t>(needle * 64 + j)] = 12 * q[j] / 0.1f;
        ASSERT_TRUE(pair.Append(k).ok());
        EXPECT_TRUE(pair.Select(q).Contains(needle)) << c.name << " needle at " << needle;
      }
    }
  }
}

TEST(Selectors, CopeWithFlatAttentionAndWithOneHugeKey) {
  for (const Case& c : Cases()) {
    SelectedPair pair(c.name, c.args, 4, 64);
    ASSERT_TRUE(pair.Append(std::vector<float>(1000 * 64, 0.25f)).ok());
    const auto flat = pair.Select(pair.RandomQueries());
    for (size_t r = 0; r < flat.certificate.size(); ++r) {
      EXPECT_NEAR(flat.mass[r], static_cast<double>(flat.n_attended()) / 1000, 1e-6);
      EXPECT_LE(flat.certificate[r], flat.mass[r]);
      EXPECT_GT(flat.certificate[r], flat.mass[r] * 0.5) << c.name;
    }
    for (float huge : {1000.0f, 60000.0f}) {
      SelectedPair other(c.name, c.args, 4, 64);
      std::vector<float> k = other.RandomKeys(1000);
      for (int j = 0; j < 64; ++j) k[500 * 64 + j] = huge;
      ASSERT_TRUE(other.Append(k).ok());
      const auto step = other.Select(std::vector<float>(4 * 64, 0.1f));
      EXPECT_TRUE(step.Contains(500)) << c.name;
      for (size_t r = 0; r < step.certificate.size(); ++r) {
        EXPECT_LE(step.certificate[r], step.mass[r]) << c.name;
      }
    }
  }
}

TEST(Selectors, EndureKeysThatAreNotNumbers) {
  for (const Case& c : Cases()) {
    for (float bad : {std::nanf(""), INFINITY, -INFINITY, 3e38f}) {
      SelectedPair pair(c.name, c.args, 2, 64);
      std::vector<float> k = pair.RandomKeys(1000);
      k[400 * 64 + 3] = bad;
      ASSERT_TRUE(pair.Append(k).ok());
      EXPECT_TRUE(pair.Select(pair.RandomQueries()).Contains(400)) << c.name << " " << bad;
    }
  }
}

TEST(Selectors, ReadShortListsWhole) {
  for (const Case& c : Cases()) {
    for (int64_t n : {0, 1, 2, 15, 16, 17, 90}) {
      SelectedPair pair(c.name, c.args, 2, 16);
      ASSERT_TRUE(pair.Append(pair.RandomKeys(n)).ok());
      const auto step = pair.Select(pair.RandomQueries());
      EXPECT_TRUE(step.all) << c.name << " " << n;
      EXPECT_EQ(step.certificate, std::vector<float>(2, 1.0f));
    }
  }
}

bool SameRanges(const std::vector<IndexRange>& a, const std::vector<IndexRange>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](IndexRange x, IndexRange y) {
    return x.begin == y.begin && x.end == y.end;
  });
}

TEST(Selectors, ChooseAlikeHoweverKeysArrived) {
  for (const Case& c : Cases()) {
    SelectedPair parts(c.name, c.args, 4, 64), whole(c.name, c.args, 4, 64);
    const std::vector<float> k = parts.RandomKeys(1200);
    ASSERT_TRUE(whole.Append(k).ok());
    for (size_t at = 0; at < 1200;) {
      const size_t n = std::min<size_t>(1 + at % 37, 1200 - at);
      ASSERT_TRUE(parts
                      .Append({k.begin() + static_cast<int64_t>(at * 64),
                               k.begin() + static_cast<int64_t>((at + n) * 64)})
                      .ok());
      at += n;
    }
    const std::vector<float> q = whole.RandomQueries();
    const auto expected = whole.Select(q), got = parts.Select(q);
    EXPECT_TRUE(SameRanges(got.ranges, expected.ranges)) << c.name;
    EXPECT_EQ(got.certificate, expected.certificate) << c.name;
    ASSERT_TRUE(parts.Rebuild().ok());
    EXPECT_TRUE(SameRanges(parts.Select(q).ranges, expected.ranges)) << c.name;
  }
}

TEST(Selectors, FollowTruncation) {
  for (const Case& c : Cases()) {
    SelectedPair pair(c.name, c.args, 4, 64);
    for (int round = 0; round < 30; ++round) {
      ASSERT_TRUE(pair.Append(pair.RandomKeys(200 + round * 31 % 90, 1 + round % 3)).ok());
      const auto step = pair.Select(pair.RandomQueries());
      for (size_t r = 0; r < step.certificate.size(); ++r) {
        ASSERT_LE(step.certificate[r], step.mass[r]) << c.name;
      }
      pair.Truncate(round % 10 == 9 ? 0 : pair.list().n_kv() - round * 53 % 190);
    }
  }
}

TEST(Selectors, ForksGoTheirOwnWays) {
  for (const Case& c : Cases()) {
    ByteLedger ledger;
    SlabArena arena(ledger, ByteKind::kKv);
    SelectedPair pair(c.name, c.args, 2, 64, TileFormat::kF16, &arena);
    ASSERT_TRUE(pair.Append(pair.RandomKeys(700)).ok());
    const std::vector<float> q = pair.RandomQueries();
    const auto expected = pair.Select(q);
    auto fork = pair.selector().Fork();
    ASSERT_TRUE(fork.ok());
    EXPECT_EQ(IndexBytes(arena), pair.selector().bytes() + (*fork)->bytes());
    pair.set_selector(std::move(*fork));
    EXPECT_TRUE(SameRanges(pair.Select(q).ranges, expected.ranges)) << c.name;
    EXPECT_EQ(IndexBytes(arena), pair.selector().bytes());
  }
}

TEST(Selectors, ChargeWhatTheyHoldAndStopAtTheLimit) {
  for (const Case& c : Cases()) {
    ByteLedger ledger(300000);
    SlabArena arena(ledger, ByteKind::kKv);
    SelectedPair pair(c.name, c.args, 2, 64, TileFormat::kF16, &arena);
    Status status;
    while (status.ok()) {
      EXPECT_EQ(IndexBytes(arena), pair.selector().bytes()) << c.name;
      status = pair.Append(pair.RandomKeys(300));
      ASSERT_LT(pair.list().n_kv(), 100000);
      if (c.name == "lserve" && pair.selector().bytes() == 0) break;  // a streaming head
    }
    EXPECT_TRUE(status.ok() || status.code() == StatusCode::kOutOfMemory) << status.ToString();
    // The list took the keys; the sequence forgets them, and goes on.
    pair.Truncate(pair.list().n_kv() - 300);
    ASSERT_TRUE(pair.Rebuild().ok() || ledger.available() < 2 * 256 * 64 * 4) << c.name;
  }
}

TEST(Selectors, CountTheBiasOfMergedTokens) {
  for (const Case& c : Cases()) {
    SelectedPair pair(c.name, c.args, 2, 64);
    ASSERT_TRUE(pair.Append(pair.RandomKeys(1000)).ok());
    const std::vector<float> k = pair.RandomKeys(640, 0.1f);
    std::vector<int32_t> pos(640);
    std::iota(pos.begin(), pos.end(), 0);
    std::vector<float> bias(640, 1.5f);
    bias[333] = 40.0f;
    ByteLedger ledger;
    SlabArena arena(ledger, ByteKind::kKv);
    auto merged = MakeDenseSegment({64, TileFormat::kF16, TileFormat::kF16}, arena, pos, k.data(),
                                   k.data(), bias);
    ASSERT_TRUE(merged.ok());
    pair.list().SealTail(992);
    pair.list().ReplaceSealed({*merged});
    ASSERT_TRUE(pair.Rebuild().ok());
    for (int i = 0; i < 10; ++i) {
      const auto step = pair.Select(pair.RandomQueries(0.1f));
      EXPECT_TRUE(step.Contains(333)) << c.name;
      for (size_t r = 0; r < step.certificate.size(); ++r) {
        EXPECT_LE(step.certificate[r], step.mass[r]) << c.name;
      }
    }
    pair.list().ReplaceSealed({});
  }
}

// A whole cache, with and without a selector whose budget holds everything.
TEST(Selectors, WithAFullBudgetChangeNoBitOfTheOutput) {
  const std::vector<std::pair<std::string, std::string>> big = {{"", "65536"}};
  for (const SelectorInfo* info : Selectors()) {
    for (int group : {1, 8}) {
      const CacheShape shape{3, 2 * group, 2, 64, {0, 0, 40}};
      SelectorShape selector_shape{3, 2 * group, 2, 64, {0, 0, 40}, nullptr};
      ByteLedger ledger;
      SlabArena arena(ledger, ByteKind::kKv);
      ThreadTeam team(2);
      auto workspace = *AttendWorkspace::Create(shape, 2, ledger);
      SequenceCache plain(shape, TileFormat::kF16, TileFormat::kF16, arena);
      SequenceCache selected(shape, TileFormat::kF16, TileFormat::kF16, arena);
      selected.set_selector(std::move(*MakeSelector(info->name, big, selector_shape)));
      SelectedPair numbers(info->name, big, group, 64);
      for (int begin = 0; begin < 1100; begin += begin == 0 ? 1090 : 1) {
        const int n = begin == 0 ? 1090 : 1;
        std::vector<int32_t> pos(static_cast<size_t>(n));
        std::iota(pos.begin(), pos.end(), begin);
        for (int layer = 0; layer < 3; ++layer) {
          const auto k = numbers.RandomKeys(n * 2), q = numbers.RandomKeys(n * 2 * group);
          LayerQueries queries;
          queries.q = q.data();
          queries.pos = pos;
          queries.scale = 0.125f;
          std::vector<float> expected(q.size()), got(q.size());
          for (auto [cache, out] : {std::pair{&plain, &expected}, {&selected, &got}}) {
            ASSERT_TRUE(cache->Append(layer, pos, k.data(), k.data(), team).ok());
            ASSERT_TRUE(cache->Attend(layer, queries, team, *workspace, out->data()).ok());
          }
          ASSERT_EQ(std::memcmp(got.data(), expected.data(), got.size() * 4), 0) << info->name;
        }
        plain.Advance(begin + n);
        selected.Advance(begin + n);
      }
      auto fork = selected.Fork();
      ASSERT_TRUE(fork.ok());
      ASSERT_TRUE((*fork)->Truncate(1095).ok());
      EXPECT_EQ((*fork)->selector()->bytes(), selected.selector()->bytes());
    }
  }
}

TEST(Selectors, SayWhatIsWrongWithTheirParameters) {
  const auto message = [](std::string_view name, const WrittenArgs& args) {
    return CheckSelector(name, args).message();
  };
  EXPECT_EQ(message("quest", {{"", "64"}}), "");
  EXPECT_EQ(message("quest", {{"", "64"}, {"", "max"}, {"dense", "1"}}), "");
  EXPECT_EQ(message("quest", {{"", "none"}}),
            "quest: pages: expected a whole number from 1 to 16777216, found 'none'");
  EXPECT_EQ(message("quest", {{"pages", "0"}}),
            "quest: pages: expected a whole number from 1 to 16777216, found '0'");
  EXPECT_EQ(message("quest", {{"group", "mean"}}),
            "quest: group: expected sum|max|head, found 'mean'");
  EXPECT_EQ(message("quest", {{"group", ""}}), "quest: group: expected sum|max|head, found ''");
  EXPECT_EQ(message("quest", {{"page", "1"}}),
            "quest: expected a parameter of pages, group, dense, found 'page'");
  EXPECT_EQ(message("quest", {{"", "1"}, {"pages", "2"}}), "quest: pages is given twice");
  EXPECT_NE(message("guest", {}).find("expected one of quest"), std::string::npos);
  EXPECT_FALSE(MakeSelector("quest", {}, SelectorShape{}).ok());
}

TEST(Selectors, RefuseListsThatTheyDidNotFollow) {
  SelectedPair pair("quest", {{"dense", "0"}}, 1, 16);
  ASSERT_TRUE(pair.Append(pair.RandomKeys(5)).ok());
  const std::vector<float> k = pair.RandomKeys(1);
  EXPECT_EQ(pair.selector().OnAppend(0, 0, 9, 1, k.data(), 16).code(),
            StatusCode::kInvalidArgument);
  pair.selector().OnTruncate(0, 0, 3);
  std::vector<IndexRange> ranges;
  EXPECT_FALSE(pair.selector().Select(0, 0, QueryRows{}, pair.list(), &ranges).ok());
}

TEST(Quest, LeavesTheFirstLayersWhole) {
  SelectorShape shape = PairShape(1, 16);
  shape.n_layer = 4;
  auto selector = MakeSelector("quest", {}, shape);
  ASSERT_TRUE(selector.ok());
  const std::vector<float> k(16 * 100, 1.0f);
  for (int layer = 0; layer < 4; ++layer) {
    const int64_t before = (*selector)->bytes();
    ASSERT_TRUE((*selector)->OnAppend(layer, 0, 0, 100, k.data(), 16).ok());
    EXPECT_EQ((*selector)->bytes() > before, layer >= 2) << layer;
  }
}

// What the queries want lies at 300 and moves to 600; when does the choice follow?
TEST(Selectors, ReuseAChoiceForAsManyStepsAsAsked) {
  for (const char* name : {"lserve", "twolevel"}) {
    for (int reuse : {1, 3, 4, 8}) {
      SelectedPair pair(name, {{"tokens", "128"}, {"reuse", std::to_string(reuse)}}, 2, 64);
      std::vector<float> k = pair.RandomKeys(1000, 0.1f);
      for (int j = 0; j < 64; ++j) {
        k[300 * 64 + j] = j < 32 ? 1.0f : 0.0f;
        k[600 * 64 + j] = j < 32 ? 0.0f : 1.0f;
      }
      ASSERT_TRUE(pair.Append(k).ok());
      std::vector<float> early(128), late(128);
      for (int j = 0; j < 128; ++j) (j % 64 < 32 ? early : late)[j] = 1.0f;
      EXPECT_TRUE(pair.Select(early).Contains(300));
      for (int i = 1; i < reuse; ++i) {
        ASSERT_TRUE(pair.Append(pair.RandomKeys(1, 0.1f)).ok());
        const auto step = pair.Select(late);
        EXPECT_TRUE(step.Contains(300)) << name << " step " << i;
        EXPECT_TRUE(step.Contains(pair.list().n_kv() - 1)) << name << " step " << i;
        for (size_t r = 0; r < 2; ++r) EXPECT_LE(step.certificate[r], step.mass[r]);
      }
      EXPECT_TRUE(pair.Select(late).Contains(600)) << name << " reuse " << reuse;
      // What happened to the list ends the reuse.
      pair.Truncate(990);
      EXPECT_TRUE(pair.Select(early).Contains(300));
      ASSERT_TRUE(pair.Rebuild().ok());
      EXPECT_TRUE(pair.Select(late).Contains(600));
    }
  }
}

TEST(Twolevel, AlwaysReadsSinksAndRecentTokens) {
  SelectedPair pair("twolevel", {{"tokens", "512"}, {"sink", "40"}, {"recent", "100"}}, 4, 64);
  ASSERT_TRUE(pair.Append(pair.RandomKeys(3000)).ok());
  for (int i = 0; i < 40; ++i) {
    const auto step = pair.Select(pair.RandomQueries());
    const int64_t n = pair.list().n_kv();
    for (int64_t t = 0; t < 40; ++t) ASSERT_TRUE(step.Contains(t)) << t;
    for (int64_t t = n - 100; t < n; ++t) ASSERT_TRUE(step.Contains(t)) << t << " of " << n;
    EXPECT_LE(step.n_attended(), 512);
    ASSERT_TRUE(pair.Append(pair.RandomKeys(1)).ok());
  }
}

TEST(Lserve, HeadsOfTheTableStream) {
  SelectorShape shape = PairShape(1, 16);
  shape.n_layer = 3;
  shape.n_head = shape.n_kv_head = 2;
  const WrittenArgs args = {
      {"tokens", "64"}, {"streaming", "0.1/2.*"}, {"sink", "8"}, {"local", "20"}};
  auto selector = MakeSelector("lserve", args, shape);
  ASSERT_TRUE(selector.ok());
  ByteLedger ledger;
  SlabArena arena(ledger, ByteKind::kKv);
  SegmentList list({16, TileFormat::kF16, TileFormat::kF16}, arena);
  const std::vector<float> k(16 * 500, 1.0f);
  std::vector<int32_t> pos(500);
  std::iota(pos.begin(), pos.end(), 0);
  ASSERT_TRUE(list.Append(pos, k.data(), k.data(), 16).ok());
  QueryRows rows;
  rows.q = k.data();
  rows.n_row = 1;
  rows.head_dim = 16;
  for (int layer = 0; layer < 3; ++layer) {
    for (int head = 0; head < 2; ++head) {
      const int64_t before = (*selector)->bytes();
      ASSERT_TRUE((*selector)->OnAppend(layer, head, 0, 500, k.data(), 16).ok());
      const bool streams = layer == 2 || (layer == 0 && head == 1);
      EXPECT_EQ((*selector)->bytes() == before, streams);
      std::vector<IndexRange> ranges;
      ASSERT_TRUE(*(*selector)->Select(layer, head, rows, list, &ranges));
      const std::vector<IndexRange> sink_and_local = {{0, 8}, {480, 500}};
      EXPECT_EQ(SameRanges(ranges, sink_and_local), streams);
    }
  }
  for (const char* wrong : {"0", "3.0", "0.2", "a.b", "0.1,2.0", "0.1//"}) {
    const WrittenArgs bad = {{"streaming", wrong}};
    EXPECT_FALSE(MakeSelector("lserve", bad, shape).ok()) << wrong;
  }
}

}  // namespace
}  // namespace kvasir
