// Predictions against what the ledger and the caches hold after the same prompt.
#include "kvasir/measure/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "kvasir/core/file_testing.h"
#include "kvasir/model/gguf_testing.h"

namespace kvasir {
namespace {

class Planner : public testing::Test {
 protected:
  void SetUp() override {
    auto model =
        LoadModel(directory_.Write("model.gguf", testing_gguf::TinyModel("tiny-llama")), {});
    ASSERT_TRUE(model.ok()) << model.status().ToString();
    model_ = *model;
  }
  PlanOptions Options(std::vector<std::string> recipes) const {
    return {.n_token = 1500, .n_ubatch = 128, .recipes = std::move(recipes), .read_bytes = 1 << 20};
  }
  PlanRow PlanOne(const std::string& recipe, int64_t memory_limit = 0) {
    PlanOptions options = Options({recipe});
    options.memory_limit = memory_limit;
    auto plan = MakePlan(model_, options, team_);
    EXPECT_TRUE(plan.ok()) << plan.status().ToString();
    return plan.ok() ? plan->rows.at(0) : PlanRow{};
  }
  PlanCheck Check(const std::string& recipe) {
    auto check = CheckPlan(model_, recipe, Options({}), team_);
    EXPECT_TRUE(check.ok()) << recipe << ": " << check.status().ToString();
    return check.ok() ? *check : PlanCheck{};
  }

  TemporaryDirectory directory_;
  ThreadTeam team_{1};
  std::shared_ptr<const Model> model_;
};

TEST_F(Planner, CountsTheBytesThatTheLedgerCounts) {
  for (const char* recipe : {"exact", "q8_0", "int4h", "kivi:2", "streaming:256", "snapkv:256",
                             "h2o:256", "keydiff:256", "keydiff:256+int4h", "quest:16"}) {
    const PlanRow row = PlanOne(recipe);
    const PlanCheck check = Check(recipe);
    EXPECT_EQ(row.refused, "");
    EXPECT_EQ(row.peak.weights, check.peak.weights) << recipe;
    EXPECT_EQ(row.peak.scratch, check.peak.scratch) << recipe;
    EXPECT_GE(row.peak.kv, check.peak.kv) << recipe;
    EXPECT_GE(row.peak.kv + row.peak.slack, check.peak.kv + check.peak.slack) << recipe;
    EXPECT_GE(static_cast<double>(row.peak.index), 0.95 * static_cast<double>(check.peak.index))
        << recipe;
  }
}

TEST_F(Planner, CountsWhatStaysToTheByteWhereNothingIsChosen) {
  for (const char* recipe : {"exact", "k=f32 v=f32", "q8_0", "q4_0", "int4h", "k=q8_0 v=q4_0"}) {
    EXPECT_EQ(PlanOne(recipe).kv_end, Check(recipe).kv_end) << recipe;
  }
  EXPECT_EQ(PlanOne("exact").peak.kv, Check("exact").peak.kv);
}

TEST_F(Planner, CountsWhatStaysOfCutsToAFewPercent) {
  for (const char* recipe :
       {"streaming:256", "snapkv:256", "keydiff:256", "kivi:2", "quest:16", "snapkv:512+q8_0"}) {
    const auto planned = static_cast<double>(PlanOne(recipe).kv_end);
    const auto measured = static_cast<double>(Check(recipe).kv_end);
    EXPECT_LT(std::abs(planned - measured), 0.04 * measured)
        << recipe << ": planned " << planned << ", measured " << measured;
  }
}

TEST_F(Planner, SaysWhatFits) {
  const PlanRow free = PlanOne("exact");
  EXPECT_TRUE(free.fits);
  const PlanRow small = PlanOne("exact", free.peak.total() - free.peak.kv);
  EXPECT_FALSE(small.fits);
  EXPECT_FALSE(small.makes_room);
  EXPECT_TRUE(PlanOne("exact overflow=stream", 1).fits);
  EXPECT_GT(free.prefill_seconds, 0);
  EXPECT_GT(free.decode_rate, 0);
}

TEST_F(Planner, NamesWhatCannotWorkAndGoesOn) {
  auto plan = MakePlan(model_, Options({"h2o+kivi:2", "exact"}), team_);
  ASSERT_TRUE(plan.ok()) << plan.status().ToString();
  EXPECT_THAT(plan->rows[0].refused, testing::HasSubstr("cannot work together"));
  EXPECT_EQ(plan->rows[1].refused, "");
  EXPECT_FALSE(MakePlan(model_, Options({"no_such_recipe"}), team_).ok());
  EXPECT_THAT(MakePlan(model_, {.n_token = 0}, team_).status().message(),
              testing::HasSubstr("tokens: expected 1 to"));
}

TEST_F(Planner, PlansEveryRecipeOfItsOwnList) {
  auto plan = MakePlan(model_, Options({}), team_);
  ASSERT_TRUE(plan.ok()) << plan.status().ToString();
  ASSERT_EQ(plan->rows.size(), PlannedRecipes().size());
  for (const PlanRow& row : plan->rows) EXPECT_EQ(row.refused, "") << row.recipe;
}

}  // namespace
}  // namespace kvasir
