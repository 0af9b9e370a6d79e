#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "cli/program_testing.h"

namespace kvasir::cli {
namespace {

using Json = nlohmann::ordered_json;

TEST(Recipes, ListsEveryPartWithItsCard) {
  const ProgramResult table = RunProgram({"recipes"});
  EXPECT_EQ(table.exit_code, 0);
  for (const char* text : {"snapkv(budget=1024,window=32,pool=7)", "SnapKV, arXiv:2404.14469",
                           "score=", "codec=", "kivi", "select=", "quest", "needs window rows"}) {
    EXPECT_NE(table.out.find(text), std::string::npos) << text;
  }
  const Json json = Json::parse(RunProgram({"recipes", "--json"}).out);
  EXPECT_GE(json["recipes"].size(), 9u);
  EXPECT_GE(json["parts"].size(), 40u);
  for (const Json& part : json["parts"]) EXPECT_NE(part["summary"], "") << part;
}

TEST(Recipes, ExplainsBytesPerToken) {
  const ProgramResult text =
      RunProgram({"recipes", "explain", "snapkv:1024+q8_0", "--shape", "llama-3.1-8b"});
  EXPECT_EQ(text.exit_code, 0) << text.err;
  EXPECT_NE(text.out.find("at the end of the prompt: score=window"), std::string::npos) << text.out;
  const Json json = Json::parse(RunProgram({"recipes", "explain", "q8_0", "--json"}).out);
  EXPECT_EQ(json["recipe"], "codec=q8_0");
  EXPECT_EQ(json["bits_per_key_element"], 8.5);
  EXPECT_EQ(json["bytes_per_token"], 32 * 8 * 128 * 2 * 8.5 / 8);
}

TEST(Recipes, SaysWhyARecipeIsRefused) {
  const ProgramResult refused = RunProgram({"recipes", "explain", "h2o+kivi:2"});
  EXPECT_NE(refused.exit_code, 0);
  EXPECT_NE(refused.err.find("k=kivi and schedule=steps cannot work together"), std::string::npos)
      << refused.err;
  EXPECT_NE(RunProgram({"recipes", "explian", "q8_0"}).err.find("expected nothing or explain"),
            std::string::npos);
}

}  // namespace
}  // namespace kvasir::cli
