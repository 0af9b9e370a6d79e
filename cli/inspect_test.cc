#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "cli/program_testing.h"

namespace kvasir::cli {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::string Synth(const TemporaryDirectory& directory, const std::string& shape,
                  const std::string& type) {
  const std::string path = directory.Path(shape + ".gguf");
  const ProgramResult made = RunProgram({"synth", "--shape", shape, "--type", type, "-o", path});
  EXPECT_EQ(made.exit_code, 0) << made.err;
  return path;
}

TEST(Synth, WritesAModelThatInspectReads) {
  const TemporaryDirectory directory;
  const std::string path = Synth(directory, "tiny-gemma3", "q8_0");
  const ProgramResult seen = RunProgram({"inspect", "-m", path, "--json", "--tensors"});
  ASSERT_EQ(seen.exit_code, 0) << seen.err;
  const auto report = nlohmann::json::parse(seen.out);
  EXPECT_EQ(report["architecture"], "gemma3");
  EXPECT_EQ(report["n_layer"], 7);
  EXPECT_EQ(report["tokenizer"]["tokens"], 512);
  EXPECT_EQ(report["chat_template"], true);
  EXPECT_EQ(report["window"], (std::vector<int>{32, 32, 32, 32, 32, 0, 32}));
  // K and V, 7 layers, 1 head of 32 channels, 2 bytes; six layers hold 32 tokens, one holds 512.
  EXPECT_EQ(report["kv"][0]["bytes_per_token"], 896);
  EXPECT_EQ(report["kv"][0]["bytes_at_full_context"], 128 * (6 * 32 + 512));
  EXPECT_EQ(report["tensors"].size(), 2 + 7 * 13);
  EXPECT_EQ(report["types"][1]["type"], "q8_0");
  EXPECT_EQ(report["types"][1]["tensors"], 1 + 7 * 7);
}

TEST(Inspect, SaysTheFactsInWords) {
  const TemporaryDirectory directory;
  const ProgramResult seen =
      RunProgram({"inspect", "-m", Synth(directory, "tiny-mistral", "f16"), "--metadata"});
  ASSERT_EQ(seen.exit_code, 0) << seen.err;
  EXPECT_THAT(seen.out,
              AllOf(HasSubstr("llama"), HasSubstr("32 tokens in 3 of 3 layers"),
                    HasSubstr("kv at q4_0"), HasSubstr("f16"), HasSubstr("llama.rope.freq_base")));
}

TEST(Inspect, ShowsAFileThatCannotBeRunAndSaysWhy) {
  const std::string path = std::string(KVASIR_SHARED_DATA) + "/tokenizers/ggml-vocab-falcon.gguf";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no " << path;
  const ProgramResult seen = RunProgram({"inspect", "-m", path});
  EXPECT_EQ(seen.exit_code, 1);
  EXPECT_THAT(seen.out, HasSubstr("falcon.block_count"));
  EXPECT_THAT(seen.err, AllOf(HasSubstr("'falcon' is not supported"), HasSubstr("llama")));
}

TEST(Inspect, ReadsFoldersToo) {
  const std::string folder = std::string(KVASIR_SOURCE_DIR) + "/tests/fixtures/models/qwen3";
  const ProgramResult seen = RunProgram({"inspect", "-m", folder, "--tensors"});
  ASSERT_EQ(seen.exit_code, 0) << seen.err;
  EXPECT_THAT(seen.out, AllOf(HasSubstr("qwen3"), HasSubstr("layer 0 wq")));
}

TEST(Inspect, NamesWhatIsWrongWithItsArguments) {
  EXPECT_EQ(RunProgram({"inspect"}).exit_code, 2);
  EXPECT_THAT(RunProgram({"inspect", "-m", "/nonexistent.gguf"}).err,
              HasSubstr("/nonexistent.gguf"));
  EXPECT_THAT(RunProgram({"synth", "--shape", "tiny-llama", "--type", "q9", "-o", "/tmp/x"}).err,
              HasSubstr("unknown type 'q9'"));
}

}  // namespace
}  // namespace kvasir::cli
