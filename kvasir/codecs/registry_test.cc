#include "kvasir/codecs/registry.h"

#include <gtest/gtest.h>

#include <set>

namespace kvasir {
namespace {

TEST(Registry, NamesAndIdsAreUnique) {
  std::set<uint16_t> ids;
  std::set<std::string_view> names;
  for (const CodecEntry& entry : Codecs()) {
    EXPECT_TRUE(ids.insert(entry.id).second) << entry.id;
    EXPECT_TRUE(names.insert(entry.info->name).second) << entry.info->name;
    EXPECT_FALSE(entry.info->summary.empty());
    for (const CodecParam& param : entry.info->params) {
      EXPECT_LE(param.min, param.default_value) << entry.info->name << " " << param.name;
      EXPECT_LE(param.default_value, param.max) << entry.info->name << " " << param.name;
      EXPECT_FALSE(param.meaning.empty());
    }
  }
}

TEST(Registry, ArgumentsComeByNameByPlaceAndAsFlags) {
  const auto name = [](const CodecArgs& args) { return (*MakeCodec("q4_0", args))->name(); };
  EXPECT_EQ(name({}), "q4_0");
  EXPECT_EQ(name({{"", "had"}}), "q4_0(had)");
  EXPECT_EQ(name({{"had", "1"}}), "q4_0(had)");
  EXPECT_EQ(name({{"", "1"}}), "q4_0(had)");
  EXPECT_EQ(name({{"had", "0"}}), "q4_0");
  EXPECT_EQ(name({{"order", "energy"}}), "q4_0(order=energy)");
  EXPECT_EQ(name({{"order", "none"}}), "q4_0");
}

TEST(Registry, MistakesAreExplained) {
  const auto message = [](std::string_view codec, const CodecArgs& args) {
    return MakeCodec(codec, args).status().message();
  };
  EXPECT_EQ(MakeCodec("q3_0").status().code(), StatusCode::kNotFound);
  EXPECT_NE(message("q3_0", {}).find("q4_0"), std::string::npos);
  EXPECT_NE(message("q4_0", {{"had", "2"}}).find("from 0 to 1"), std::string::npos);
  EXPECT_NE(message("q4_0", {{"had", "x"}}).find("\"x\""), std::string::npos);
  EXPECT_NE(message("q4_0", {{"had", "nan"}}).find("\"nan\""), std::string::npos);
  EXPECT_NE(message("q4_0", {{"bits", "2"}}).find("its parameters are had"), std::string::npos);
  EXPECT_NE(message("q4_0", {{"order", "size"}}).find("none, energy, range or mean, not \"size\""),
            std::string::npos);
  EXPECT_NE(message("q4_0", {{"", "had"}, {"order", "range"}}).find("nothing left to sort by"),
            std::string::npos);
  EXPECT_NE(message("group", {{"", "channel"}, {"order", "mean"}}).find("has one channel"),
            std::string::npos);
  EXPECT_NE(message("f16", {{"", "2"}}).find("it takes no parameters"), std::string::npos);
}

}  // namespace
}  // namespace kvasir
