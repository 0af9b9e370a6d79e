#include "kvasir/measure/audit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "kvasir/measure/audit_baselines.h"
#include "kvasir/policy/policy_rig_testing.h"

namespace kvasir {
namespace {

using testing::HasSubstr;
using testing_policy::PolicyRig;
using testing_policy::RigSequence;

constexpr int64_t kPrompt = 96, kDecode = 24, kChunk = 32;

AuditOptions Options(std::vector<std::string> recipes) {
  AuditOptions options;
  options.recipes = std::move(recipes);
  options.n_decode = kDecode;
  options.n_ubatch = kChunk;
  options.baselines = false;
  return options;
}

Result<Audit> AuditOf(const PolicyRig& rig, const AuditOptions& options,
                      int64_t n_token = kPrompt + kDecode) {
  ThreadTeam team(2);
  return RunAudit(rig.model, PolicyRig::Tokens(static_cast<int>(n_token)), options, team);
}

// Logits of every decode step, by a driver of its own.
std::vector<std::vector<float>> DecodeLogits(PolicyRig& rig, const std::string& recipe,
                                             std::span<const TokenId> tokens) {
  RigSequence sequence = rig.Start(recipe);
  EXPECT_TRUE(rig.Prefill(sequence, tokens.first(kPrompt), kChunk).ok());
  std::vector<std::vector<float>> logits;
  for (const TokenId& token : tokens.subspan(kPrompt)) {
    EXPECT_TRUE(rig.Decode(sequence, {&token, 1}).ok());
    logits.push_back(sequence.logits);
  }
  return logits;
}

// By the definition, without a shared maximum.
double DirectKl(const std::vector<float>& p, const std::vector<float>& q) {
  long double sum_p = 0, sum_q = 0, kl = 0;
  for (size_t i = 0; i < p.size(); ++i) {
    sum_p += std::exp(static_cast<long double>(p[i]));
    sum_q += std::exp(static_cast<long double>(q[i]));
  }
  for (size_t i = 0; i < p.size(); ++i) {
    const long double a = std::exp(static_cast<long double>(p[i])) / sum_p;
    const long double b = std::exp(static_cast<long double>(q[i])) / sum_q;
    kl += a * std::log(a / b);
  }
  return static_cast<double>(kl);
}

TEST(Audit, OfExactAgainstExactIsZeroToTheBit) {
  for (const char* shape : {"tiny-llama", "tiny-gemma3", "tiny-qwen2"}) {
    SCOPED_TRACE(shape);
    const PolicyRig rig(shape);
    const auto audit = AuditOf(rig, Options({"exact"}));
    ASSERT_TRUE(audit.ok()) << audit.status().ToString();
    const RecipeAudit& row = audit->recipes.at(0);
    ASSERT_EQ(row.decode.kl.size(), static_cast<size_t>(kDecode));
    ASSERT_EQ(row.prefill.kl.size(), static_cast<size_t>(kPrompt));
    for (const double kl : row.decode.kl) EXPECT_EQ(kl, 0);
    for (const double kl : row.prefill.kl) EXPECT_EQ(kl, 0);
    EXPECT_EQ(row.decode_summary.top1, 1);
    EXPECT_EQ(row.decode_summary.perplexity, audit->exact.decode_perplexity);
    EXPECT_EQ(row.prefill_summary.perplexity, audit->exact.prefill_perplexity);
    ASSERT_EQ(row.stream_error.size(), static_cast<size_t>(rig.shape().n_layer));
    ASSERT_EQ(row.isolated_error.size(), row.stream_error.size());
    for (const auto* errors : {&row.stream_error, &row.isolated_error}) {
      for (const LayerError& e : *errors) EXPECT_EQ(e.worst, 0);
    }
    EXPECT_EQ(row.cost.kv_bytes, audit->exact.cost.kv_bytes);
  }
}

TEST(Audit, DivergenceIsThatOfLogitsFromADriverOfItsOwn) {
  PolicyRig rig;
  const std::vector<TokenId> tokens = PolicyRig::Tokens(kPrompt + kDecode);
  const std::vector<std::string> recipes = {"streaming(budget=40,every=4)",
                                            "snapkv(budget=40,window=8)", "codec=kivi(2,tail=32)",
                                            "h2o(budget=40,recent=8,every=4)", "tova:40"};
  const auto audit = AuditOf(rig, Options(recipes));
  ASSERT_TRUE(audit.ok()) << audit.status().ToString();
  const auto exact = DecodeLogits(rig, "exact", tokens);
  for (size_t r = 0; r < recipes.size(); ++r) {
    SCOPED_TRACE(recipes[r]);
    const RecipeAudit& row = audit->recipes[r];
    const auto lossy = DecodeLogits(rig, recipes[r], tokens);
    double mean = 0, worst = 0, nll = 0;
    int n_agree = 0;
    for (size_t i = 0; i < lossy.size(); ++i) {
      const double kl = DirectKl(exact[i], lossy[i]);
      EXPECT_NEAR(row.decode.kl[i], kl, 1e-9 + 1e-6 * kl);
      EXPECT_EQ(row.decode.pos[i], static_cast<int32_t>(kPrompt + static_cast<int64_t>(i)));
      mean += kl / static_cast<double>(lossy.size());
      worst = std::max(worst, kl);
      n_agree += std::ranges::max_element(exact[i]) - exact[i].begin() ==
                 std::ranges::max_element(lossy[i]) - lossy[i].begin();
      if (i + 1 == lossy.size()) continue;
      long double sum = 0;
      for (const float x : lossy[i]) sum += std::exp(static_cast<long double>(x));
      nll += std::log(static_cast<double>(sum)) -
             lossy[i][static_cast<size_t>(tokens[kPrompt + i + 1])];
    }
    EXPECT_GT(mean, 1e-6) << "a recipe that costs nothing tests nothing";
    EXPECT_NEAR(row.decode_summary.kl_mean, mean, 1e-9 + 1e-6 * mean);
    EXPECT_NEAR(row.decode_summary.kl_worst, worst, 1e-9 + 1e-6 * worst);
    EXPECT_DOUBLE_EQ(row.decode_summary.top1, n_agree / static_cast<double>(lossy.size()));
    EXPECT_NEAR(row.decode_summary.perplexity, std::exp(nll / (kDecode - 1)), 1e-4);
    EXPECT_GT(row.stream_error.back().mean, 0);
  }
}

TEST(Audit, OfWhatIsCutAtTheEndOfThePromptLeavesThePromptAlone) {
  const PolicyRig rig;
  const auto audit = AuditOf(rig, Options({"snapkv(budget=40,window=8)", "streaming:40"}));
  ASSERT_TRUE(audit.ok()) << audit.status().ToString();
  EXPECT_EQ(audit->recipes[0].prefill_summary.kl_worst, 0);
  EXPECT_GT(audit->recipes[1].prefill_summary.kl_worst, 0);
  // The first chunk and, for it, the second see everything.
  for (size_t i = 0; i < static_cast<size_t>(kChunk); ++i) {
    EXPECT_EQ(audit->recipes[1].prefill.kl[i], 0) << i;
  }
}

TEST(Audit, ComparesAsManyPositionsOfThePromptAsAsked) {
  const PolicyRig rig;
  AuditOptions options = Options({"streaming:40"});
  const auto all = AuditOf(rig, options);
  options.n_judged = 7;
  const auto some = AuditOf(rig, options);
  ASSERT_TRUE(all.ok() && some.ok());
  const PositionErrors& few = some->recipes[0].prefill;
  ASSERT_EQ(few.pos.size(), 7u);
  EXPECT_EQ(few.pos.back(), kPrompt - 1);
  for (size_t i = 0; i < few.pos.size(); ++i) {
    EXPECT_EQ(few.kl[i], all->recipes[0].prefill.kl[static_cast<size_t>(few.pos[i])]);
  }
}

TEST(Audit, CountsBytesAndTokensThatAreHeld) {
  const PolicyRig rig;
  const auto audit = AuditOf(
      rig, Options({"codec=f32",
                    "score=recency budget=uniform(40) protect=sinks(4) schedule=chunks(4)"}));
  ASSERT_TRUE(audit.ok()) << audit.status().ToString();
  const CacheShape& s = rig.shape();
  const int64_t n_list = int64_t{s.n_layer} * s.n_kv_head, n_token = kPrompt + kDecode;
  const int64_t f16_token = 2 * 2 * s.head_dim;
  EXPECT_EQ(audit->exact.cost.kv_bytes, n_list * n_token * f16_token);
  EXPECT_EQ(audit->exact.cost.tokens_held, n_list * n_token);
  EXPECT_EQ(audit->recipes[0].cost.kv_bytes, 2 * n_list * n_token * f16_token);
  const StreamCost& streaming = audit->recipes[1].cost;
  EXPECT_EQ(streaming.tokens_held, n_list * 40);
  EXPECT_EQ(streaming.kv_bytes, n_list * 40 * (f16_token + 4));  // and their positions
  EXPECT_EQ(streaming.memory.size(), static_cast<size_t>(kPrompt / kChunk + kDecode));
  EXPECT_EQ(streaming.memory.back().payload, streaming.kv_bytes);
  for (const MemorySample& sample : streaming.memory) {
    EXPECT_LE(sample.payload, n_list * (40 + kChunk) * (f16_token + 4));
    EXPECT_LE(sample.ledger, streaming.peak_bytes);
    EXPECT_GE(sample.ledger, sample.payload);
  }
  EXPECT_GT(streaming.prefill_seconds, 0);
  EXPECT_GT(streaming.decode_seconds, 0);
}

TEST(Audit, BaselinesHoldTheSameBytesWithinAToken) {
  const PolicyRig rig;
  AuditOptions options =
      Options({"snapkv(budget=48,window=8)", "h2o(budget=50,recent=8,every=4)", "codec=int4h"});
  options.baselines = true;
  const auto audit = AuditOf(rig, options);
  ASSERT_TRUE(audit.ok()) << audit.status().ToString();
  const CacheShape& s = rig.shape();
  const int64_t token = int64_t{s.n_layer} * s.n_kv_head * (4 * s.head_dim + 4);
  for (size_t i = 0; i < 3; ++i) {
    const RecipeAudit& row = audit->recipes[i];
    int n_baseline = 0;
    for (const RecipeAudit& other : audit->recipes) {
      const bool equal =
          other.recipe.starts_with("streaming") || other.recipe.starts_with("random");
      if (!equal || std::ranges::count(other.baseline_of, row.recipe) == 0) continue;
      ++n_baseline;
      EXPECT_LE(std::abs(other.cost.kv_bytes - row.cost.kv_bytes), token)
          << other.recipe << " for " << row.recipe;
    }
    EXPECT_EQ(n_baseline, 2) << row.recipe;
  }
}

TEST(Audit, BaselinesThatCannotRunAreNoted) {
  const PolicyRig rig;  // heads of 16 channels are too narrow for blocks of 32
  AuditOptions options = Options({"exact"});
  options.baselines = true;
  const auto audit = AuditOf(rig, options);
  ASSERT_TRUE(audit.ok()) << audit.status().ToString();
  EXPECT_THAT(audit->notes, testing::Contains(HasSubstr("exact holds no fewer bytes")));
}

TEST(SimulatedHeadBytes, AreThoseOfTheModel) {
  const PolicyRig rig;
  const std::vector<std::string> recipes = {"streaming:37", "random:50",
                                            "random(60,recent=8)+schedule=steps"};
  const auto audit = AuditOf(rig, Options(recipes));
  ASSERT_TRUE(audit.ok()) << audit.status().ToString();
  for (size_t i = 0; i < recipes.size(); ++i) {
    const auto bytes =
        SimulatedHeadBytes(recipes[i], rig.shape().head_dim, {kPrompt, kDecode, kChunk});
    ASSERT_TRUE(bytes.ok()) << bytes.status().ToString();
    EXPECT_EQ(audit->recipes[i].cost.kv_bytes, *bytes * rig.shape().n_layer * rig.shape().n_kv_head)
        << recipes[i];
  }
}

TEST(Audit, RefusesWhatCannotBeDone) {
  const PolicyRig rig;
  const auto error = [&](const AuditOptions& options, int64_t n_token = kPrompt + kDecode) {
    const auto audit = AuditOf(rig, options, n_token);
    EXPECT_FALSE(audit.ok());
    return audit.ok() ? "" : audit.status().ToString();
  };
  EXPECT_THAT(error(Options({"exact"}), 3), HasSubstr("the text has 3 tokens"));
  EXPECT_THAT(error(Options({"exact"}), 24), HasSubstr("24 tokens, and 24 of them"));
  AuditOptions small = Options({"exact"});
  small.n_ctx = 64;
  EXPECT_THAT(error(small), HasSubstr("120 tokens, the context holds 64"));
  EXPECT_THAT(error(Options({"exact", "snapk:10"})), HasSubstr("snapk"));
  EXPECT_THAT(error(Options({"snapkv(budget=4,window=8)"})), HasSubstr("always stay"));
}

TEST(Audit, LeavesOutARecipeThatFailsAndSaysWhy) {
  const PolicyRig rig;
  AuditOptions options = Options({"kvzip:50%", "streaming:40"});
  options.n_ctx = kPrompt + kDecode;  // kvzip reads the prompt twice
  options.n_decode = 1;
  const auto audit = AuditOf(rig, options);
  ASSERT_TRUE(audit.ok()) << audit.status().ToString();
  ASSERT_EQ(audit->recipes.size(), 1u);
  EXPECT_EQ(audit->recipes[0].recipe, "streaming:40");
  EXPECT_THAT(audit->notes, testing::Contains(HasSubstr("--kv kvzip:50%")));
  options.recipes = {"kvzip:50%"};
  EXPECT_THAT(AuditOf(rig, options).status().message(), HasSubstr("the prompt is read twice"));
}

TEST(Audit, CountsTheShadowAgainstTheLimitAndRefusesBeforeAnyWork) {
  const PolicyRig rig("tiny-llama", 4096);
  AuditOptions options = Options({"streaming:40"});
  options.n_ctx = 4096;
  const auto free = AuditOf(rig, options, 4000);
  ASSERT_TRUE(free.ok()) << free.status().ToString();
  int64_t n_progress = 0;
  options.progress = [&](std::string_view, int64_t, int64_t) { ++n_progress; };
  // Room for all but half of what the shadow's cache takes.
  options.memory_limit = free->exact.cost.peak_bytes - free->exact.cost.kv_bytes / 2;
  const auto refused = AuditOf(rig, options, 4000);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.status().code(), StatusCode::kOutOfMemory) << refused.status().ToString();
  EXPECT_EQ(n_progress, 0);
}

}  // namespace
}  // namespace kvasir
