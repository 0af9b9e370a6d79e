// Hundreds of small templates against what Python Jinja2 renders; tools/make_jinja_fixtures.py
// makes the fixture.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "kvasir/core/mapped_file.h"
#include "kvasir/model/jinja/template.h"

namespace kvasir::jinja {
namespace {

using Json = nlohmann::ordered_json;

Result<Rendered> ParseAndRender(const std::string& source, const Json& context) {
  KVASIR_ASSIGN_OR_RETURN(const Template parsed, Template::Parse(source));
  return parsed.Render(context);
}

TEST(JinjaSnippets, RenderAsJinja2) {
  const auto file = ReadFile(KVASIR_SOURCE_DIR "/tests/fixtures/jinja/snippets.json");
  ASSERT_TRUE(file.ok()) << file.status().ToString();
  const Json fixture = Json::parse(*file);
  ASSERT_GE(fixture["cases"].size(), 600u);
  for (const Json& test : fixture["cases"]) {
    const auto source = test["template"].get<std::string>();
    const auto rendered = ParseAndRender(source, fixture["context"]);
    if (test.contains("error")) {
      EXPECT_FALSE(rendered.ok()) << source << "\nrendered " << rendered->text();
      continue;
    }
    if (!rendered.ok()) {
      ADD_FAILURE() << source << "\n" << rendered.status().ToString();
    } else {
      EXPECT_EQ(rendered->text(), test["rendered"].get<std::string>()) << source;
    }
  }
}

}  // namespace
}  // namespace kvasir::jinja
