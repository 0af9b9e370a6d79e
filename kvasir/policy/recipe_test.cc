#include "kvasir/policy/recipe.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace kvasir {
namespace {

std::string Canonical(const std::string& text) {
  const auto recipe = Recipe::Parse(text);
  return recipe.ok() ? recipe->ToString() : recipe.status().ToString();
}

TEST(Recipe, PrintsOneSpellingOfWhatWasAsked) {
  EXPECT_EQ(Canonical("exact"), "exact");
  EXPECT_EQ(Canonical("q8_0"), "codec=q8_0");
  EXPECT_EQ(Canonical("k=q8_0 v=q4_0"), "k=q8_0 v=q4_0");
  EXPECT_EQ(Canonical("snapkv:512+q8_0"),
            "score=window shape=maxpool budget=uniform(tokens=512) codec=q8_0");
  EXPECT_EQ(Canonical("score=window(32) budget=pyramid:2048 keep=topk(pool=7) codec=q4_0"),
            "score=window shape=maxpool budget=pyramid(tokens=2048) keep=topk codec=q4_0");
  EXPECT_EQ(Canonical("quest:32+kivi:2"), "codec=kivi select=quest(pages=32)");
  EXPECT_EQ(Canonical("score=window( rows = 8 )+budget=25%"),
            "score=window(rows=8) budget=uniform(tokens=25%)");
  EXPECT_EQ(Canonical("knorm(budget=64,sinks=2)"),
            "score=knorm budget=uniform(tokens=64) protect=sinks(n=2),recent(n=32)");
}

TEST(Recipe, SurvivesPrintingAndJson) {
  for (const PresetInfo* preset : Presets()) {
    const auto recipe = Recipe::Parse(preset->name);
    ASSERT_TRUE(recipe.ok()) << preset->name << ": " << recipe.status().ToString();
    const auto again = Recipe::Parse(recipe->ToString());
    ASSERT_TRUE(again.ok()) << again.status().ToString();
    EXPECT_EQ(*recipe, *again) << preset->name;
    const auto json = Recipe::FromJson(recipe->ToJson());
    ASSERT_TRUE(json.ok()) << json.status().ToString();
    EXPECT_EQ(*recipe, *json) << preset->name;
    EXPECT_EQ(recipe->ToJson(), json->ToJson());
  }
}

TEST(Recipe, RefusesAKindSetTwiceNamingBoth) {
  EXPECT_EQ(Canonical("snapkv:64+h2o"),
            "invalid_argument: recipe: score is set twice, by 'snapkv:64' and by 'h2o'");
  EXPECT_EQ(Canonical("q8_0 k=f16"),
            "invalid_argument: recipe: k is set twice, by 'q8_0' and by 'k=f16'");
}

TEST(Recipe, SaysWhereTextIsNoRecipe) {
  EXPECT_EQ(Canonical(""),
            "invalid_argument: recipe '': byte 0: expected a recipe such as exact, found the end");
  EXPECT_EQ(Canonical("snapkv("),
            "invalid_argument: recipe 'snapkv(': byte 7: expected a value, found the end");
  EXPECT_EQ(Canonical("q8_0 + "),
            "invalid_argument: recipe 'q8_0 + ': byte 7: expected a part, found the end");
  EXPECT_EQ(Canonical("snapkv)64"),
            "invalid_argument: recipe 'snapkv)64': byte 6: expected '+', a "
            "space or the end, found ')'");
  EXPECT_EQ(Recipe::Parse(std::string(5000, 'a')).status().message(),
            "recipe: expected at most 4096 bytes, found 5000");
}

TEST(Recipe, NamesTheNearestPart) {
  EXPECT_EQ(Canonical("snapkw"),
            "not_found: recipe: nothing is called 'snapkw'; did you mean snapkv?");
  EXPECT_EQ(Canonical("scor=window"),
            "not_found: recipe: no kind of part is called 'scor'; did you mean score?");
  EXPECT_EQ(Canonical("score=widow"),
            "not_found: recipe: score has no part 'widow'; did you mean window?");
}

TEST(Recipe, NamesTheParameterWhatWasExpectedAndFound) {
  EXPECT_EQ(Canonical("score=window(0)"),
            "invalid_argument: score=window: rows: expected a whole number from 1 to 1024, found "
            "'0'");
  EXPECT_EQ(Canonical("score=window(1.5)"),
            "invalid_argument: score=window: rows: expected a whole number from 1 to 1024, found "
            "'1.5'");
  EXPECT_EQ(Canonical("budget=uniform(many)"),
            "invalid_argument: budget=uniform: tokens: expected 1 to 1000000000 tokens or a share "
            "such as 25%, found 'many'");
  EXPECT_EQ(Canonical("budget=uniform"),
            "invalid_argument: budget=uniform: tokens is missing: tokens a head keeps");
  EXPECT_EQ(Canonical("score=window(row=3)"),
            "invalid_argument: score=window: no parameter for 'row'; it takes rows");
  EXPECT_EQ(Canonical("score=window(3,rows=4)"),
            "invalid_argument: score=window: rows is given twice");
}

TEST(Recipe, TakesTheRotationOfKeysAndValues) {
  const auto rotated = [](std::string_view text, PartKind kind) {
    Recipe recipe = *Recipe::Parse(text);
    const Status status = recipe.AddHadamard(kind, "-khad");
    return status.ok() ? recipe.ToString() : std::string(status.message());
  };
  EXPECT_EQ(rotated("k=q8_0 v=q4_0", PartKind::kCodecK), "k=q8_0(had) v=q4_0");
  EXPECT_EQ(rotated("q8_0", PartKind::kCodecV), "k=q8_0 v=q8_0(had)");
  EXPECT_EQ(rotated("k=q8_0(had)", PartKind::kCodecK), "k=q8_0(had)");
  EXPECT_EQ(rotated("exact", PartKind::kCodecK),
            "-khad: expected a number format to rotate, such as q8_0; found floats, which gain "
            "nothing by it");
  EXPECT_EQ(rotated("int4h", PartKind::kCodecK),
            "-khad with int4h: int4h: bits must be a number from 2 to 8, not \"had\"");
}

TEST(Recipe, AsksForTheKindOfANameThatSeveralKindsHave) {
  EXPECT_EQ(Canonical("chunks"),
            "invalid_argument: recipe: 'chunks' may be several parts; write shape=chunks or "
            "schedule=chunks");
}

TEST(RecipeJson, RefusesTextAndPartsThatDisagree) {
  const auto json =
      nlohmann::ordered_json::parse(R"({"recipe": "q8_0", "parts": {"k": "q4_0", "v": "q8_0"}})");
  EXPECT_EQ(Recipe::FromJson(json).status().message(),
            "recipe: 'recipe' says codec=q8_0, 'parts' says k=q4_0 v=q8_0");
  EXPECT_FALSE(Recipe::FromJson(nlohmann::ordered_json::parse("[1]")).ok());
  EXPECT_FALSE(Recipe::FromJson(nlohmann::ordered_json::parse(R"({"parts":{"k":1}})")).ok());
  EXPECT_FALSE(Recipe::FromJson(nlohmann::ordered_json::parse(R"({})")).ok());
}

}  // namespace
}  // namespace kvasir
