#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/program_testing.h"

namespace kvasir::cli {
namespace {

using ::testing::HasSubstr;

TEST(TemplateCommand, PrintsTheRenderingAndNothingElse) {
  const TemporaryDirectory folder;
  const std::string source = folder.Write(
      "t.jinja",
      "{{ bos_token }}{% for m in messages %}\n<{{ m.role }}>{{ m.content }}\n{% endfor %}");
  const std::string context = folder.Write(
      "c.json", R"({"bos_token": "<s>", "messages": [{"role": "user", "content": "hé"}]})");
  const ProgramResult result = RunProgram({"template", source, context});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "<s><user>hé\n");
  EXPECT_EQ(result.err, "");
}

TEST(TemplateCommand, ErrorsNameTheFileAndTheLine) {
  const TemporaryDirectory folder;
  const std::string source = folder.Write("t.jinja", "a\n{{ raise_exception('no tools here') }}");
  const std::string context = folder.Write("c.json", "{}");
  const ProgramResult raised = RunProgram({"template", source, context});
  EXPECT_EQ(raised.exit_code, 2);
  EXPECT_EQ(raised.out, "");
  EXPECT_THAT(raised.err, HasSubstr("t.jinja: chat template line 2: no tools here"));
  const ProgramResult not_json = RunProgram({"template", source, folder.Write("d.json", "{")});
  EXPECT_EQ(not_json.exit_code, 1);
  EXPECT_THAT(not_json.err, HasSubstr("d.json: not valid JSON at byte"));
  EXPECT_EQ(RunProgram({"template", source}).exit_code, 2);
  EXPECT_EQ(RunProgram({"template", folder.Path("none"), context}).exit_code, 1);
}

}  // namespace
}  // namespace kvasir::cli
