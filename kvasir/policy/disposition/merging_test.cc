#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "kvasir/cache/coded_segment.h"
#include "kvasir/policy/policy_rig_testing.h"

namespace kvasir {
namespace {

using testing_policy::RandomRows;

constexpr int kDim = 16;

// One list of f32 tokens at positions 0, 1, ..., and cuts by a disposition of a recipe.
class Cutter {
 public:
  explicit Cutter(TileFormat format = TileFormat::kF32) : list({kDim, format, format}, arena) {}

  void Add(const std::vector<float>& k, const std::vector<float>& v) {
    const auto n = static_cast<int32_t>(k.size()) / kDim;
    std::vector<int32_t> pos(static_cast<size_t>(n));
    std::iota(pos.begin(), pos.end(), next_);
    next_ += n;
    ASSERT_TRUE(list.Append(pos, k.data(), v.data(), kDim).ok());
  }
  // Keeps the unsettled tokens for which `keep` holds.
  void Cut(const std::string& name, const std::vector<std::pair<std::string, std::string>>& args,
           const std::function<bool(int32_t)>& keep) {
    const PartInfo* info = FindPart(PartKind::kDisposition, name);
    ASSERT_NE(info, nullptr);
    auto checked = PartArgs::Make(name, info->params, args);
    ASSERT_TRUE(checked.ok()) << checked.status().ToString();
    auto part = info->make(*checked);
    ASSERT_TRUE(part.ok()) << part.status().ToString();
    const auto& disposition = dynamic_cast<const Disposition&>(**part);
    std::vector<int32_t> kept, evicted;
    for (auto i = static_cast<int32_t>(disposition.n_settled(state)); i < list.n_kv(); ++i) {
      (keep(i) ? kept : evicted).push_back(i);
    }
    CutInput input;
    input.list = &list;
    input.kept = kept;
    input.evicted = evicted;
    input.arena = &arena;
    auto contents = disposition.Cut(input, &state);
    ASSERT_TRUE(contents.ok()) << contents.status().ToString();
    list.Replace(std::move(contents->sealed), std::move(contents->tail));
    ASSERT_EQ(list.n_kv(), disposition.n_settled(state) + static_cast<int64_t>(kept.size()));
  }
  // Attention of a query, later than all tokens, by a definition in doubles over the list's rows.
  std::vector<double> Explicit(const std::vector<float>& q) const {
    std::vector<float> k(static_cast<size_t>(list.n_kv()) * kDim), v(k.size());
    EXPECT_TRUE(list.Decode(0, list.n_kv(), k.data(), v.data()).ok());
    std::vector<double> out(kDim);
    double sum = 0;
    for (int64_t t = 0; t < list.n_kv(); ++t) {
      double x = 0;
      for (int j = 0; j < kDim; ++j) x += double{q[j]} * k[t * kDim + j];
      sum += std::exp(x);
      for (int j = 0; j < kDim; ++j) out[j] += std::exp(x) * v[t * kDim + j];
    }
    for (double& o : out) o /= sum;
    return out;
  }
  // The same by the engine's kernels, biases included; and ln of the total weight.
  std::vector<float> Attend(const std::vector<float>& q, float* log_mass = nullptr) {
    std::vector<float> scaled(q);
    for (float& x : scaled) x *= kLog2E;
    const int32_t pos = next_;
    QueryRows rows;
    rows.q = scaled.data();
    rows.pos = &pos;
    rows.n_row = 1;
    rows.head_dim = kDim;
    rows.pos_min = rows.pos_max = pos;
    AttendScratch scratch(kDim);
    const StateView state = scratch.total_state(1);
    ResetStates(state);
    EXPECT_TRUE(list.Attend(rows, scratch, state).ok());
    if (log_mass != nullptr) *log_mass = LogSumExp(state, 0);
    std::vector<float> out(kDim);
    FinishStates(state, kDim, out.data(), kDim);
    return out;
  }

  ByteLedger ledger;
  SlabArena arena{ledger, ByteKind::kKv};
  SegmentList list;
  std::vector<float> state;

 private:
  int32_t next_ = 0;
};

void ExpectNear(const std::vector<float>& got, const std::vector<double>& want, double tolerance) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_TRUE(std::abs(got[i] - want[i]) <= tolerance) << i << ": " << got[i] << " " << want[i];
  }
}

// 5 different tokens, of which token i occurs 1 + i times, one after the other.
void AddDuplicates(Cutter* cutter) {
  const std::vector<float> k = RandomRows(5 * kDim, 1), v = RandomRows(5 * kDim, 2);
  std::vector<float> all_k, all_v;
  for (int i = 0; i < 5; ++i) {
    for (int copy = 0; copy <= i; ++copy) {
      all_k.insert(all_k.end(), k.begin() + i * kDim, k.begin() + (i + 1) * kDim);
      all_v.insert(all_v.end(), v.begin() + i * kDim, v.begin() + (i + 1) * kDim);
    }
  }
  cutter->Add(all_k, all_v);
}
// The first copy of each: 0, 1, 3, 6, 10.
bool IsFirstCopy(int32_t i) { return i == 0 || i == 1 || i == 3 || i == 6 || i == 10; }

class DuplicateMerge : public testing::TestWithParam<const char*> {};

TEST_P(DuplicateMerge, OfDuplicatesWithCountsIsExact) {
  Cutter cutter;
  AddDuplicates(&cutter);
  const std::vector<float> q = RandomRows(kDim, 3);
  const std::vector<double> before = cutter.Explicit(q);
  cutter.Cut(GetParam(), {}, IsFirstCopy);
  EXPECT_EQ(cutter.list.n_kv(), 5);
  ExpectNear(cutter.Attend(q), before, 1e-5);
}

TEST_P(DuplicateMerge, OfDuplicatesWithoutCountsLosesTheirWeight) {
  Cutter cutter;
  AddDuplicates(&cutter);
  const std::vector<float> q(kDim, 0.05f);  // all tokens have their say
  const std::vector<double> before = cutter.Explicit(q);
  cutter.Cut(GetParam(), {{"count", "0"}}, IsFirstCopy);
  const std::vector<float> after = cutter.Attend(q);
  double worst = 0;
  for (int j = 0; j < kDim; ++j) worst = std::max(worst, std::abs(after[j] - before[j]));
  EXPECT_GT(worst, 1e-2);
}

TEST_P(DuplicateMerge, CountsSurviveLaterCuts) {
  Cutter cutter;
  AddDuplicates(&cutter);
  const std::vector<float> q = RandomRows(kDim, 3);
  const std::vector<double> before = cutter.Explicit(q);
  cutter.Cut(GetParam(), {}, [](int32_t i) { return i != 2 && i != 4 && i != 11 && i != 12; });
  cutter.Cut(GetParam(), {}, [&](int32_t i) {  // what is left of each but its first copy goes
    const std::vector<int32_t> pos = cutter.list.AllPositions();
    return IsFirstCopy(pos[i]);
  });
  EXPECT_EQ(cutter.list.n_kv(), 5);
  ExpectNear(cutter.Attend(q), before, 1e-5);
}

TEST_P(DuplicateMerge, LeavesKeysAsTheyAre) {
  Cutter cutter;
  cutter.Add(RandomRows(40 * kDim, 4), RandomRows(40 * kDim, 5));
  std::vector<float> k(40 * kDim), v(k.size()), k_after(20 * kDim), v_after(k_after.size());
  ASSERT_TRUE(cutter.list.Decode(0, 40, k.data(), v.data()).ok());
  cutter.Cut(GetParam(), {}, [](int32_t i) { return i % 2 == 0; });
  ASSERT_TRUE(cutter.list.Decode(0, 20, k_after.data(), v_after.data()).ok());
  bool changed = false;
  for (int t = 0; t < 20; ++t) {
    for (int j = 0; j < kDim; ++j) {
      EXPECT_EQ(k_after[t * kDim + j], k[2 * t * kDim + j]);
      changed |= v_after[t * kDim + j] != v[2 * t * kDim + j];
    }
  }
  EXPECT_TRUE(changed);
}

TEST_P(DuplicateMerge, BelowTheLeastSimilarityEqualsDropping) {
  Cutter merged, dropped;
  for (Cutter* cutter : {&merged, &dropped}) {
    cutter->Add(RandomRows(40 * kDim, 4), RandomRows(40 * kDim, 5));
  }
  const auto keep = [](int32_t i) { return i % 3 == 0; };
  merged.Cut(GetParam(), {{"least", "2"}}, keep);
  dropped.Cut("drop", {}, keep);
  const std::vector<float> q = RandomRows(kDim, 6);
  EXPECT_EQ(merged.Attend(q), dropped.Attend(q));
}

INSTANTIATE_TEST_SUITE_P(Merges, DuplicateMerge, testing::Values("vmerge", "d2o"),
                         [](const auto& info) { return std::string(info.param); });

TEST(ValueMerge, WeighsByCosineAndNorms) {
  Cutter cutter;
  // Two kept tokens with orthogonal keys; one evicted at 60 degrees to the first.
  std::vector<float> k(3 * kDim), v(3 * kDim);
  k[0] = 1, k[kDim + 1] = 1;
  k[2 * kDim] = 0.5f, k[2 * kDim + 2] = std::sqrt(0.75f);
  v[0] = 3, v[2 * kDim + 1] = 1;
  cutter.Add(k, v);
  cutter.Cut("vmerge", {}, [](int32_t i) { return i < 2; });
  std::vector<float> k_after(2 * kDim), v_after(2 * kDim);
  ASSERT_TRUE(cutter.list.Decode(0, 2, k_after.data(), v_after.data()).ok());
  const double w = 0.5 * 1 / (1 + 3);
  EXPECT_NEAR(v_after[0], 3 / (1 + w), 1e-6);
  EXPECT_NEAR(v_after[1], w / (1 + w), 1e-6);
  const std::vector<int32_t> all = {0, 1};
  const std::vector<float> bias = GatherBias(cutter.list, all);
  ASSERT_EQ(bias.size(), 2u);
  EXPECT_EQ(bias[0], 1.0f);  // log2 of two tokens
  EXPECT_EQ(bias[1], 0.0f);
}

TEST(D2oMerge, WeightsSumToOneSoThatEqualValuesStay) {
  Cutter cutter;
  std::vector<float> v(40 * kDim, 0.75f);
  cutter.Add(RandomRows(40 * kDim, 8), v);
  cutter.Cut("d2o", {{"keys", "1"}}, [](int32_t i) { return i % 4 == 0; });
  std::vector<float> k_after(10 * kDim), v_after(10 * kDim);
  ASSERT_TRUE(cutter.list.Decode(0, 10, k_after.data(), v_after.data()).ok());
  for (float x : v_after) EXPECT_NEAR(x, 0.75f, 1e-6);
}

TEST(D2oMerge, IdenticalTokensStayAsTheyAreWithKeysMergedToo) {
  Cutter cutter;
  AddDuplicates(&cutter);
  const std::vector<float> q = RandomRows(kDim, 3);
  const std::vector<double> before = cutter.Explicit(q);
  cutter.Cut("d2o", {{"keys", "1"}}, IsFirstCopy);
  ExpectNear(cutter.Attend(q), before, 1e-5);
}

TEST(D2oMerge, ThresholdIsTheMeanSimilarityAndMovesByHalf) {
  Cutter cutter;
  // Kept: e0. Evicted: at cosines 1 and 0, so the mean is 0.5 and one merges.
  std::vector<float> k(3 * kDim), v(3 * kDim);
  k[0] = 1, k[kDim] = 2, k[2 * kDim + 1] = 1;
  v[2 * kDim] = 100;
  cutter.Add(k, v);
  cutter.Cut("d2o", {}, [](int32_t i) { return i == 0; });
  ASSERT_EQ(cutter.state.size(), 1u);
  EXPECT_NEAR(cutter.state[0], 0.5, 1e-6);
  std::vector<float> k_after(kDim), v_after(kDim);
  ASSERT_TRUE(cutter.list.Decode(0, 1, k_after.data(), v_after.data()).ok());
  EXPECT_EQ(v_after[0], 0.0f);  // the dissimilar one was dropped
  std::vector<float> more(kDim);
  more[0] = 1;
  cutter.Add(more, more);
  cutter.Cut("d2o", {}, [](int32_t i) { return i == 0; });
  EXPECT_NEAR(cutter.state[0], 0.5 * 0.5 + 0.5 * 1, 1e-6);
}

TEST(Compensation, WithIdenticalKeysIsExactForAnyValues) {
  Cutter cutter;
  std::vector<float> k = RandomRows(50 * kDim, 1);
  for (int t = 10; t < 40; ++t) std::copy_n(k.begin(), kDim, k.begin() + t * kDim);
  cutter.Add(k, RandomRows(50 * kDim, 2));
  const std::vector<float> q = RandomRows(kDim, 3);
  const std::vector<double> before = cutter.Explicit(q);
  cutter.Cut("compensate", {}, [](int32_t i) { return i < 10 || i >= 40; });
  EXPECT_EQ(cutter.list.n_kv(), 21);
  ExpectNear(cutter.Attend(q), before, 1e-5);
}

TEST(Compensation, NeverHasMoreWeightThanWhatItStandsFor) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    Cutter cutter;
    cutter.Add(RandomRows(50 * kDim, seed), RandomRows(50 * kDim, 2));
    const std::vector<float> q = RandomRows(kDim, 100 + seed);
    float before = 0, after = 0;
    cutter.Attend(q, &before);
    cutter.Cut("compensate", {}, [](int32_t i) { return i % 5 == 0; });
    cutter.Attend(q, &after);
    EXPECT_LE(after, before + 1e-5);
  }
}

TEST(Compensation, OfSeveralCutsIsThatOfOne) {
  Cutter once, twice;
  const std::vector<float> k = RandomRows(60 * kDim, 1), v = RandomRows(60 * kDim, 2);
  once.Add(k, v);
  once.Cut("compensate", {}, [](int32_t i) { return i >= 50; });
  twice.Add({k.begin(), k.begin() + 30 * kDim}, {v.begin(), v.begin() + 30 * kDim});
  twice.Cut("compensate", {}, [](int32_t i) { return i >= 20; });
  twice.Add({k.begin() + 30 * kDim, k.end()}, {v.begin() + 30 * kDim, v.end()});
  twice.Cut("compensate", {}, [](int32_t i) { return i >= 31; });
  EXPECT_EQ(once.list.n_kv(), 11);
  EXPECT_EQ(twice.list.n_kv(), 11);
  const std::vector<float> q = RandomRows(kDim, 3);
  const std::vector<float> a = once.Attend(q);
  ExpectNear(twice.Attend(q), {a.begin(), a.end()}, 1e-5);
}

TEST(Demotion, KeepsEveryTokenAndFreesBytes) {
  Cutter cutter(TileFormat::kF16);
  cutter.Add(RandomRows(336 * kDim, 1), RandomRows(336 * kDim, 2));
  const int64_t dense = cutter.list.bytes(), used = cutter.arena.used_bytes();
  const std::vector<float> q = RandomRows(kDim, 3);
  const std::vector<double> before = cutter.Explicit(q);
  cutter.Cut("demote", {{"codec", "q8_0"}}, [](int32_t i) { return i >= 320; });
  EXPECT_EQ(cutter.list.n_kv(), 336);
  ExpectNear(cutter.Attend(q), before, 0.05);
  // 320 tokens, K and V: 16 elements in half a block of 34 bytes at most, against 32 bytes.
  EXPECT_LT(cutter.list.bytes(), dense * 3 / 4);
  EXPECT_LT(cutter.arena.used_bytes(), used * 3 / 4);
}

TEST(Demotion, LeavesOversDenseUntilABlockIsFull) {
  Cutter cutter(TileFormat::kF16);
  cutter.Add(RandomRows(40 * kDim, 1), RandomRows(40 * kDim, 2));
  const auto n_coded = [&] {
    int64_t n = 0;
    for (const auto& segment : cutter.list.sealed()) {
      if (dynamic_cast<const CodedSegment*>(segment.get()) != nullptr) n += segment->n_kv();
    }
    return n;
  };
  cutter.Cut("demote", {{"codec", "q8_0"}}, [](int32_t i) { return i % 2 == 0; });
  EXPECT_EQ(n_coded(), 16);  // of 20
  cutter.Cut("demote", {{"codec", "q8_0"}}, [](int32_t i) { return i < 28; });
  EXPECT_EQ(n_coded(), 32);  // of 4 + 12 more
  EXPECT_EQ(cutter.list.n_kv(), 40);
  std::vector<int32_t> pos = cutter.list.AllPositions();
  std::ranges::sort(pos);
  for (int32_t i = 0; i < 40; ++i) EXPECT_EQ(pos[i], i);
}

TEST(BiasedTail, KeepsBiasesThroughSealingTruncatingAndCopying) {
  ByteLedger ledger;
  SlabArena arena(ledger, ByteKind::kKv);
  Tail tail({kDim, TileFormat::kF32, TileFormat::kF32}, arena);
  const std::vector<float> rows = RandomRows(40 * kDim, 1);
  std::vector<int32_t> pos(40);
  std::iota(pos.begin(), pos.end(), 0);
  const auto append = [&](int first, int n, const std::vector<float>& bias) {
    ASSERT_TRUE(tail.Append(std::span(pos).subspan(first, n), &rows[first * kDim],
                            &rows[first * kDim], kDim, bias)
                    .ok());
  };
  append(0, 5, {});
  EXPECT_EQ(tail.bias(), nullptr);
  append(5, 20, std::vector<float>(20, 2.0f));
  append(25, 5, {});
  auto copy = tail.Copy();
  ASSERT_TRUE(copy.ok());
  for (Tail* t : {&tail, &*copy}) {
    for (int i = 0; i < 30; ++i) EXPECT_EQ(t->bias()[i], i >= 5 && i < 25 ? 2.0f : 0.0f) << i;
  }
  const auto sealed = tail.Seal(16);
  EXPECT_EQ(sealed->bias()[15], 2.0f);
  EXPECT_EQ(tail.bias()[0], 2.0f);
  EXPECT_EQ(tail.bias()[9], 0.0f);
  copy->Truncate(20);
  const std::vector<float> more(4 * kDim);
  ASSERT_TRUE(copy->Append(std::span(pos).subspan(30, 4), more.data(), more.data(), kDim).ok());
  for (int i = 20; i < 24; ++i) EXPECT_EQ(copy->bias()[i], 0.0f);
}

}  // namespace
}  // namespace kvasir
