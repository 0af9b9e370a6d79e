// Real templates and their renderings by Jinja2.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "kvasir/core/mapped_file.h"
#include "kvasir/model/chat_template.h"

namespace kvasir {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::time_t kNov21 = 1795262400;  // 21 Nov 2026, noon UTC

TEST(JinjaCorpus, RealTemplatesRenderAsJinja2) {
  const std::filesystem::path folder = std::filesystem::path(KVASIR_SHARED_DATA) / "templates";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "no shared data: templates";
  int n_case = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".jinja") continue;
    const std::string name = entry.path().stem();
    const auto source = ReadFile(entry.path());
    ASSERT_TRUE(source.ok()) << source.status().ToString();
    const auto parsed = jinja::Template::Parse(*source);
    ASSERT_TRUE(parsed.ok()) << name << ": " << parsed.status().ToString();
    const auto cases = ReadFile((folder / name).string() + ".json");
    ASSERT_TRUE(cases.ok()) << cases.status().ToString();
    const Json json = Json::parse(*cases);
    for (const auto& [id, test] : json.items()) {
      ++n_case;
      const auto rendered = parsed->Render(test["context"], ChatRenderOptions({}, kNov21));
      if (test.contains("error")) {
        EXPECT_FALSE(rendered.ok()) << name << " " << id << " expected " << test["error"];
      } else {
        ASSERT_TRUE(rendered.ok()) << name << " " << id << ": " << rendered.status().ToString();
        EXPECT_EQ(rendered->text(), test["rendered"].get<std::string>()) << name << " " << id;
      }
    }
  }
  EXPECT_GE(n_case, 70);
}

}  // namespace
}  // namespace kvasir
