#include "kvasir/policy/renumber.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <random>

#include "kvasir/policy/policy_rig_testing.h"
#include "kvasir/policy/policy_run.h"

namespace kvasir {
namespace {

using testing_policy::PolicyRig;
using testing_policy::RandomRows;

RopeSpec TestRope(int head_dim) {
  RopeSpec spec;
  spec.pairing = RopePairing::kAdjacent;
  spec.n_rot = head_dim - 8;
  spec.scaling = RopeScaling::kYarn;
  spec.factor = 4;
  spec.original_context = 64;
  return spec;
}

// Layers of random rows before RoPE, driven as a forward pass drives them, beside a plain model: of
// n tokens that a head holds, the i-th is number end - n + i, and that is its angle.
class RawWorld {
 public:
  RawWorld(const std::string& recipe, std::vector<int32_t> window = {}, int n_kv_head = 2)
      : shape_{2, 4, n_kv_head, 32, std::move(window)},
        rope_(TestRope(shape_.head_dim), 4096),
        q_(RandomRows(int64_t{kTokens} * 2 * shape_.n_head * shape_.head_dim, 1)),
        k_(RandomRows(int64_t{kTokens} * 2 * n_kv_head * shape_.head_dim, 2)),
        v_(RandomRows(int64_t{kTokens} * 2 * n_kv_head * shape_.head_dim, 3)),
        workspace_(*AttendWorkspace::Create(shape_, team_.size(), ledger_)) {
    shape_.window.resize(2);
    PolicyTarget target;
    target.shape = shape_;
    target.is_special = [](TokenId id) { return id == 0; };
    auto parsed = Recipe::Parse(recipe);
    EXPECT_TRUE(parsed.ok()) << recipe << ": " << parsed.status().ToString();
    auto policy = KvPolicy::Compile(*parsed, target);
    // Attention on codes rounds queries.
    if (policy.ok() && (*policy)->codec_k != nullptr) attention_bound_ = 5e-4;
    EXPECT_TRUE(policy.ok()) << recipe << ": " << policy.status().ToString();
    cache_ = std::make_unique<SequenceCache>(shape_, (*policy)->k_format(), (*policy)->v_format(),
                                             arena_);
    run_ = std::make_unique<PolicyRun>(
        *policy,
        RunResources{&team_, workspace_.get(), &ledger_, [this](int) { return &rope_; }, {}});
    EXPECT_TRUE(run_->Attach(*cache_).ok());
  }

  static constexpr int kTokens = 400;

  Status Chunk(RunPhase phase, int n, bool last) {
    const int32_t first = cache_->n_pos();
    std::vector<int32_t> pos(static_cast<size_t>(n));
    std::iota(pos.begin(), pos.end(), first);
    const std::vector<TokenId> tokens(pos.begin(), pos.end());
    run_->BeginChunk(phase, tokens, last);
    std::vector<RowNorm> norms(static_cast<size_t>(n) * shape_.n_head);
    std::vector<float> out(static_cast<size_t>(n) * shape_.n_head * shape_.head_dim);
    for (int layer = 0; layer < shape_.n_layer; ++layer) {
      const int32_t offset = shape_.window[layer] > 0 ? 0 : cache_->angle_offset();
      std::vector<float> k = Roped(k_, layer, first, n, shape_.n_kv_head, offset);
      std::vector<float> q = Roped(q_, layer, first, n, shape_.n_head, offset);
      KVASIR_RETURN_IF_ERROR(
          cache_->Append(layer, pos, k.data(), Raw(v_, layer, first, shape_.n_kv_head), team_));
      LayerQueries queries;
      queries.q = q.data();
      queries.pos = pos;
      queries.scale = kScale;
      if (run_->WantsNorms(layer)) queries.norms = norms.data();
      KVASIR_RETURN_IF_ERROR(cache_->Attend(layer, queries, team_, *workspace_, out.data()));
      KVASIR_RETURN_IF_ERROR(run_->AfterAttend(layer, queries, *cache_));
    }
    cache_->Advance(first + n);
    return run_->EndChunk(*cache_);
  }

  // Every held key against its raw row at the angle the plain model gives it, and attention of the
  // next query, in f64, over the keys as they stand.
  //   tolerance  relative error of all keys of a head: what the format costs
  void Check(double tolerance) {
    for (int layer = 0; layer < shape_.n_layer; ++layer) {
      const bool windowed = shape_.window[layer] > 0;
      const int32_t end = windowed ? cache_->n_pos() : cache_->next_angle();
      for (int kv_head = 0; kv_head < shape_.n_kv_head; ++kv_head) {
        const SegmentList& list = cache_->list(layer, kv_head);
        const auto n = static_cast<int32_t>(list.n_kv());
        ASSERT_GT(n, 0);
        ASSERT_GE(end, n);
        std::vector<float> k(static_cast<size_t>(n) * shape_.head_dim), v(k.size());
        ASSERT_TRUE(list.Decode(0, n, k.data(), v.data()).ok());
        const std::vector<int32_t> pos = list.AllPositions();
        double error = 0, total = 0;
        for (int32_t i = 0; i < n; ++i) {
          const int32_t angle = end - n + i;
          const std::vector<float> want =
              Roped(k_, layer, pos[i], 1, shape_.n_kv_head, angle - pos[i]);
          for (int j = 0; j < shape_.head_dim; ++j) {
            const double w = want[kv_head * shape_.head_dim + j];
            error += std::pow(k[i * shape_.head_dim + j] - w, 2);
            total += w * w;
          }
        }
        ASSERT_LE(std::sqrt(error / total), tolerance)
            << "layer " << layer << " kv head " << kv_head << " at " << cache_->n_pos();
        ExpectAttends(layer, kv_head, k, v);
      }
    }
  }

  SequenceCache& cache() { return *cache_; }
  PolicyRun& run() { return *run_; }
  const ByteLedger& ledger() const { return ledger_; }

 private:
  static constexpr float kScale = 0.25f;

  const float* Raw(const std::vector<float>& rows, int layer, int first, int n_head) const {
    return &rows[(static_cast<size_t>(layer) * kTokens + first) * n_head * shape_.head_dim];
  }
  // Rows of tokens [first, first + n) at the angles of their positions plus `offset`.
  std::vector<float> Roped(const std::vector<float>& rows, int layer, int first, int n, int n_head,
                           int32_t offset) const {
    const float* raw = Raw(rows, layer, first, n_head);
    std::vector<float> roped(raw, raw + static_cast<size_t>(n) * n_head * shape_.head_dim);
    std::vector<float> table(static_cast<size_t>(rope_.n_rot()));
    for (int i = 0; i < n; ++i) {
      const int32_t angle = first + i + offset;
      rope_.FillTable({&angle, 1}, table.data());
      for (int h = 0; h < n_head; ++h) {
        rope_.Apply(&roped[(static_cast<size_t>(i) * n_head + h) * shape_.head_dim], table.data());
      }
    }
    return roped;
  }

  // The next token's query against the decoded rows.
  void ExpectAttends(int layer, int kv_head, const std::vector<float>& k,
                     const std::vector<float>& v) {
    const int32_t pos = cache_->n_pos();
    if (pos >= kTokens || shape_.window[layer] > 0) return;
    const std::vector<float> q = Roped(q_, layer, pos, 1, shape_.n_head, cache_->angle_offset());
    LayerQueries queries;
    queries.q = q.data();
    queries.pos = {&pos, 1};
    queries.scale = kScale;
    const int d = shape_.head_dim;
    std::vector<float> out(static_cast<size_t>(shape_.n_head) * d);
    ASSERT_TRUE(cache_->Attend(layer, queries, team_, *workspace_, out.data()).ok());
    for (int h = kv_head * shape_.group(); h < (kv_head + 1) * shape_.group(); ++h) {
      std::vector<double> want(d), weight(k.size() / d);
      double sum = 0;
      for (size_t t = 0; t < weight.size(); ++t) {
        double x = 0;
        for (int j = 0; j < d; ++j) x += double{q[h * d + j]} * k[t * d + j];
        sum += weight[t] = std::exp(x * kScale);
      }
      for (size_t t = 0; t < weight.size(); ++t) {
        for (int j = 0; j < d; ++j) want[j] += weight[t] / sum * v[t * d + j];
      }
      for (int j = 0; j < d; ++j) ASSERT_NEAR(out[h * d + j], want[j], attention_bound_);
    }
  }

  double attention_bound_ = 1e-4;
  CacheShape shape_;
  Rope rope_;
  std::vector<float> q_, k_, v_;
  ByteLedger ledger_;
  SlabArena arena_{ledger_, ByteKind::kKv};
  ThreadTeam team_{2};
  std::unique_ptr<AttendWorkspace> workspace_;
  std::unique_ptr<SequenceCache> cache_;
  std::unique_ptr<PolicyRun> run_;
};

struct Format {
  std::string text;
  double tolerance;  // of keys: the format's own error, and no more
};

TEST(Renumber, HeldKeysCloseRanksInEveryFormat) {
  for (const Format& f : std::vector<Format>{{"k=f32 v=f32", 3e-6},
                                             {"", 5e-4},
                                             {"codec=bf16", 4e-3},
                                             {"codec=q8_0", 1e-2},
                                             {"k=q8_0(had) v=q4_0(had)", 1e-2},
                                             {"codec=q4_0", 0.13},
                                             {"codec=q4_1(had)", 0.1},
                                             {"codec=q5_1", 0.05},
                                             {"codec=fp8", 0.04},
                                             {"codec=int4h", 0.11},
                                             {"codec=turbo", 0.19},
                                             {"v=kivi(4)", 5e-4}}) {
    for (const char* keep :
         {"streaming(40,sinks=4,every=3)",
          "score=recency budget=30 protect=sinks(3) schedule=steps(7)",
          "score=knorm budget=44 schedule=steps(5)", "score=random budget=50 schedule=chunks(4)",
          "score=window(8) budget=36 schedule=chunks(6)"}) {
      const std::string position =
          std::string(keep).starts_with("streaming") ? "" : " position=renumber";
      const std::string recipe =
          std::string(keep) + position + (f.text.empty() ? "" : " " + f.text);
      SCOPED_TRACE(recipe);
      RawWorld w(recipe);
      for (int i = 0; i < 4; ++i) {
        ASSERT_TRUE(w.Chunk(RunPhase::kPrefill, 37, i == 3).ok());
        w.Check(f.tolerance);
      }
      for (int i = 0; i < 60; ++i) {
        ASSERT_TRUE(w.Chunk(RunPhase::kDecode, 1, false).ok());
        if (i % 7 == 0) w.Check(f.tolerance);
      }
      EXPECT_LT(w.cache().next_angle(), 37 * 4);
      EXPECT_GT(w.run().n_evicted(), 0);
      if (::testing::Test::HasFatalFailure()) return;
    }
  }
}

TEST(Renumber, FormatsThatCannotGiveUpTokensCloseRanksOnce) {
  for (const Format& f : std::vector<Format>{{"codec=kivi(4,g=16,tail=16)", 0.12},
                                             {"codec=kivi(2,g=16,tail=16)", 0.45},
                                             {"codec=kvquant(4)", 0.2},
                                             {"codec=group(8,raw,g=16,channel)", 0.01},
                                             {"k=int4h v=kivi(4)", 0.11},
                                             {"codec=mikv(hi=8,lo=4,r=0.5)", 0.15}}) {
    for (const char* keep : {"snapkv(140,window=8)", "adakv(140,window=8)"}) {
      const std::string recipe = std::string(keep) + " position=renumber " + f.text;
      SCOPED_TRACE(recipe);
      RawWorld w(recipe);
      for (int i = 0; i < 4; ++i) ASSERT_TRUE(w.Chunk(RunPhase::kPrefill, 50, i == 3).ok());
      w.Check(f.tolerance);
      for (int i = 0; i < 150; ++i) ASSERT_TRUE(w.Chunk(RunPhase::kDecode, 1, false).ok());
      w.Check(f.tolerance);
      // A second prompt in the same sequence, cut again where some is sealed already.
      ASSERT_TRUE(w.Chunk(RunPhase::kPrefill, 30, true).ok());
      w.Check(f.tolerance);
    }
  }
}

TEST(Renumber, LayersWithWindowsKeepTruePositions) {
  RawWorld w("score=recency budget=40 schedule=chunks(4) position=renumber", {0, 24});
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(w.Chunk(RunPhase::kPrefill, 37, i == 3).ok());
  for (int i = 0; i < 30; ++i) ASSERT_TRUE(w.Chunk(RunPhase::kDecode, 1, false).ok());
  w.Check(5e-4);
}

TEST(Renumber, RankedHeadsOfDifferentLengthsEndTogether) {
  RawWorld w("adakv(60,window=8) position=renumber", {}, 4);
  ASSERT_TRUE(w.Chunk(RunPhase::kPrefill, 200, true).ok());
  int64_t longest = 0, shortest = 1000;
  for (int i = 0; i < 8; ++i) {
    const int64_t n = w.cache().list(i / 4, i % 4).n_kv();
    longest = std::max(longest, n);
    shortest = std::min(shortest, n);
  }
  EXPECT_LT(shortest, longest);
  EXPECT_EQ(w.cache().next_angle(), longest);
  w.Check(5e-4);
}

TEST(Renumber, OverflowRulesCloseRanksToo) {
  for (const char* recipe :
       {"overflow=stream position=renumber", "overflow=evict(4,16) position=renumber",
        "k=q8_0 v=q4_0 overflow=stream position=renumber"}) {
    SCOPED_TRACE(recipe);
    RawWorld w(recipe);
    for (int i = 0; i < 5; ++i) {
      ASSERT_TRUE(w.Chunk(RunPhase::kPrefill, 60, i == 4).ok());
      const Result<bool> gave = w.run().MakeRoom(w.cache());
      ASSERT_TRUE(gave.ok() && *gave);
      w.Check(1e-2);
    }
    EXPECT_LT(w.cache().next_angle(), 200);
  }
}

TEST(Renumber, ForksAndRewindsKeepTheirAngles) {
  RawWorld w("streaming(40,sinks=4,every=8)");
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(w.Chunk(RunPhase::kPrefill, 40, i == 2).ok());
  const int32_t offset = w.cache().angle_offset();
  EXPECT_EQ(offset, 40 - 120);
  for (int i = 0; i < 6; ++i) ASSERT_TRUE(w.Chunk(RunPhase::kDecode, 1, false).ok());
  auto fork = w.cache().Fork();
  ASSERT_TRUE(fork.ok());
  EXPECT_EQ((*fork)->angle_offset(), offset);
  EXPECT_EQ((*fork)->next_angle(), 46);
  ASSERT_TRUE(w.cache().Truncate(122).ok());
  w.run().Truncate(w.cache(), 122);
  w.Check(5e-4);
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(w.Chunk(RunPhase::kDecode, 1, false).ok());
  w.Check(5e-4);
  ASSERT_TRUE(w.cache().Truncate(0).ok());
  EXPECT_EQ(w.cache().angle_offset(), 0);
}

TEST(Renumber, KeysDoNotWearOut) {
  // Half-precision keys that moved a hundred times are as good as those that moved once: what is
  // stored is never rounded again.
  RawWorld w("score=recency budget=200 protect=sinks(4) schedule=chunks(1) position=renumber");
  ASSERT_TRUE(w.Chunk(RunPhase::kPrefill, 250, true).ok());
  for (int i = 0; i < 120; ++i) ASSERT_TRUE(w.Chunk(RunPhase::kDecode, 1, false).ok());
  w.Check(2.5e-4);
}

TEST(Renumber, WhatHasNoSinglePositionIsRefusedByBothNames) {
  PolicyRig rig;
  const auto message = [&](const char* recipe) {
    const auto policy = rig.Compile(recipe);
    EXPECT_EQ(policy.status().code(), StatusCode::kInvalidArgument) << recipe;
    return std::string(policy.status().message());
  };
  for (const auto& [recipe, a, b] :
       {std::tuple{"snapkv:64 disposition=compensate position=renumber", "disposition=compensate",
                   "position=renumber"},
        {"h2o(64,16) disposition=demote(int4h) position=renumber", "disposition=demote",
         "renumber"},
        {"snapkv:64 disposition=d2o(keys) position=renumber", "disposition=d2o", "renumber"},
        {"snapkv:64 schedule=cascade position=renumber", "schedule=cascade", "renumber"},
        {"position=renumber", "position=renumber", "nothing to act on"}}) {
    const std::string text = message(recipe);
    EXPECT_NE(text.find(a), std::string::npos) << text;
    EXPECT_NE(text.find(b), std::string::npos) << text;
  }
  EXPECT_TRUE(rig.Compile("snapkv:64 disposition=vmerge position=renumber").ok());
}

TEST(Renumber, ABoundedCacheReadsPastTheContext) {
  PolicyRig rig("tiny-llama", /*n_ctx=*/128, /*max_chunk=*/32);
  const auto tokens = PolicyRig::Tokens(600);
  auto s = rig.Start("streaming(64,sinks=4,every=8)");
  ASSERT_TRUE(rig.Prefill(s, tokens, 32).ok());
  ASSERT_TRUE(rig.Decode(s, PolicyRig::Tokens(100, 5)).ok());
  EXPECT_EQ(s.cache->n_pos(), 700);
  EXPECT_LE(s.cache->next_angle(), 64 + 32);
  for (float x : s.logits) ASSERT_TRUE(std::isfinite(x));
  auto original = rig.Start("streaming(64,sinks=4,every=8,position=original)");
  const Status full = rig.Prefill(original, tokens, 32);
  EXPECT_NE(full.message().find("context full"), std::string::npos) << full.ToString();
}

TEST(Renumber, ABudgetThatIsNeverReachedChangesNoBit) {
  PolicyRig rig;
  const auto tokens = PolicyRig::Tokens(200);
  auto exact = rig.Start("exact"), s = rig.Start("streaming(300)");
  ASSERT_TRUE(rig.Prefill(exact, tokens, 64).ok());
  ASSERT_TRUE(rig.Prefill(s, tokens, 64).ok());
  EXPECT_EQ(s.logits, exact.logits);
}

}  // namespace
}  // namespace kvasir
