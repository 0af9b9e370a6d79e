#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "cli/program_testing.h"

namespace kvasir::cli {
namespace {

using testing::HasSubstr;
using testing::Not;

const std::string kModel = std::string(KVASIR_SOURCE_DIR) + "/tests/fixtures/models/llama";

std::string Text() {
  std::string text;
  for (int i = 0; i < 40; ++i) text += "the cat sat on the mat and ";
  return text;
}

TEST(AuditCommand, PrintsARowForEveryRecipeWithBytesAndSeconds) {
  const TemporaryDirectory directory;
  const std::string text = directory.Write("text.txt", Text());
  const std::string html = directory.Path("audit.html"), json = directory.Path("audit.json");
  const ProgramResult result =
      RunProgram({"audit", "-m", kModel, "-f", text, "-c", "100", "-n", "20", "-ub", "32", "--kv",
                  "exact", "--kv", "streaming:40", "--html", html, "--json", json});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("text: 100 tokens, 80 read as a prompt"));
  EXPECT_THAT(result.out, HasSubstr("\nexact (shadow) "));
  EXPECT_THAT(result.out, HasSubstr("\nstreaming:40 "));
  EXPECT_THAT(result.out, HasSubstr("\n= random:46+schedule=steps "));
  EXPECT_THAT(result.out, HasSubstr("layer   1 "));

  const auto document = nlohmann::json::parse(ReadText(json));
  EXPECT_EQ(document["format"], "kvasir-audit-1");
  ASSERT_GE(document["recipes"].size(), 3u);
  for (const auto& recipe : document["recipes"]) {
    EXPECT_GT(recipe["cost"]["kv_bytes"], 0) << recipe["recipe"];
    EXPECT_GT(recipe["cost"]["peak_bytes"], recipe["cost"]["kv_bytes"]);
    EXPECT_GT(recipe["cost"]["prefill_seconds"], 0);
    EXPECT_GT(recipe["cost"]["decode_seconds"], 0);
    EXPECT_EQ(recipe["decode"]["by_position"]["kl"].size(), 20u);
  }
  EXPECT_EQ(document["recipes"][0]["decode"]["kl_worst"], 0);
  EXPECT_GT(document["recipes"][1]["decode"]["kl_worst"], 0);
  EXPECT_EQ(document["recipes"][2]["baseline_of"], nlohmann::json::array({"streaming:40"}));

  const std::string page = ReadText(html);
  EXPECT_THAT(page, HasSubstr("name=\"viewport\""));
  EXPECT_THAT(page, HasSubstr("Quality against bytes"));
  EXPECT_THAT(page, HasSubstr("Memory over time"));
  // Nothing is fetched and nothing runs.
  for (const char* other : {"<script", "<link", "<img", "src=", "href=", "url(", "@import"}) {
    EXPECT_THAT(page, Not(HasSubstr(other)));
  }
  std::string without_names = page;
  for (size_t at; (at = without_names.find("http://www.w3.org/2000/svg")) != std::string::npos;) {
    without_names.erase(at, 26);
  }
  EXPECT_THAT(without_names, Not(HasSubstr("http")));
}

TEST(AuditCommand, JsonGoesToStdout) {
  const TemporaryDirectory directory;
  const std::string text = directory.Write("text.txt", Text());
  const ProgramResult result = RunProgram({"audit", "-m", kModel, "-f", text, "-c", "60", "--kv",
                                           "q8_0", "--no-baselines", "--no-heads", "-o", "json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto document = nlohmann::json::parse(result.out);
  EXPECT_EQ(document["recipes"].size(), 1u);
  EXPECT_TRUE(document["heads"].is_null());
  EXPECT_EQ(document["text"]["n_decode"], 30);
}

TEST(AuditCommand, ReadsChatsWithTheTemplate) {
  const TemporaryDirectory directory;
  const std::string chat = directory.Write(
      "chat.json",
      R"([{"role":"user","content":"the cat sat"},{"role":"assistant","content":"on the mat"}])");
  const std::vector<std::string> args = {"audit", "-m",    kModel,           "-f",        chat,
                                         "--kv",  "exact", "--no-baselines", "--no-heads"};
  const auto run = [&](const std::string& chat_template) {
    std::vector<std::string> with = args;
    if (!chat_template.empty()) with.insert(with.end(), {"--chat-template", chat_template});
    return RunProgram(with);
  };
  const ProgramResult chatml = run("chatml"), bare = run("{{ messages[1].content }}");
  ASSERT_EQ(chatml.exit_code, 0) << chatml.err;
  EXPECT_THAT(chatml.out, HasSubstr("\nexact (shadow) "));
  ASSERT_EQ(bare.exit_code, 0) << bare.err;
  const auto tokens = [](const ProgramResult& result) {
    return std::stoi(result.out.substr(result.out.find("\ntext: ") + 7));
  };
  EXPECT_GT(tokens(chatml), 2 * tokens(bare));
  EXPECT_THAT(run("nosuch").err, HasSubstr("chat template"));
}

TEST(AuditCommand, SaysInOneLineWhatIsWrong) {
  const TemporaryDirectory directory;
  const std::string text = directory.Write("text.txt", Text());
  const std::string bad_chat = directory.Write("chat.json", R"([{"role":"user"}])");
  const auto error = [&](std::vector<std::string> args) {
    args.insert(args.begin(), {"audit", "-m", kModel, "-c", "60"});
    const ProgramResult result = RunProgram(args);
    EXPECT_NE(result.exit_code, 0);
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
    EXPECT_EQ(result.out, "");
    return result.err;
  };
  EXPECT_THAT(error({"-f", text}), HasSubstr("--kv: expected at least one recipe"));
  EXPECT_THAT(error({"-f", text, "--kv", "snapk:5"}), HasSubstr("snapk"));
  EXPECT_THAT(error({"-f", directory.Path("none"), "--kv", "exact"}), HasSubstr("none"));
  EXPECT_THAT(error({"-f", bad_chat, "--kv", "exact"}), HasSubstr("messages[0].content"));
  EXPECT_THAT(error({"-f", text, "--kv", "exact", "-n", "60"}), HasSubstr("nothing is left"));
  EXPECT_THAT(error({"-f", text, "--kv", "exact", "-c", "5000"}),
              HasSubstr("of 5000 tokens, found"));
  EXPECT_THAT(error({"-f", text, "--kv", "exact", "--mem", "1M"}), HasSubstr("1.00 MiB"));
  EXPECT_THAT(error({"-f", text, "--kv", "exact", "--no-baselines", "--html", "/nonexistent/a"}),
              HasSubstr("/nonexistent/a"));
}

}  // namespace
}  // namespace kvasir::cli
