// --mem against what the system counts: recipes of every kind read a prompt whose exact cache would
// pass the limit. scripts/peak_memory.sh does the same at full size.
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "cli/program_testing.h"

namespace kvasir::cli {
namespace {

constexpr int kTokens = 10000;
// Pages of the program differ by most of a MiB with how its file lies in the cache.
constexpr const char* kMem = "27M";

class PeakMemory : public testing::TestWithParam<const char*> {
 protected:
  static void SetUpTestSuite() {
    directory_ = new TemporaryDirectory;
    const ProgramResult made = RunProgram({"synth", "--shape", "tiny-llama3", "--type", "q8_0",
                                           "--vocab", "400", "-o", directory_->Path("m.gguf")});
    ASSERT_EQ(made.exit_code, 0) << made.err;
    std::mt19937 rng(7);
    std::string text;  // characters that the vocabulary does not merge: one token each
    for (int i = 0; i < kTokens; ++i) text += static_cast<char>('A' + rng() % 26);
    directory_->Write("prompt", text);
  }
  static void TearDownTestSuite() {
    delete directory_;
    directory_ = nullptr;
  }
  static ProgramResult Run(const std::string& recipe) {
    return RunProgram({"run", "-m", directory_->Path("m.gguf"), "-f", directory_->Path("prompt"),
                       "-n", "2", "-c", std::to_string(kTokens + 16), "-t", "2", "--temp", "0",
                       "--mem", kMem, "--kv", recipe});
  }
  // The bytes of "peak: NAME 1.5 MiB (1572864)".
  static int64_t Bytes(const std::string& err, const std::string& name) {
    const size_t line = err.find("peak: ");
    const size_t at = line == std::string::npos ? line : err.find(name + " ", line);
    const size_t bracket = at == std::string::npos ? at : err.find('(', at);
    return bracket == std::string::npos ? -1 : std::atoll(err.c_str() + bracket + 1);
  }

  static TemporaryDirectory* directory_;
};

TemporaryDirectory* PeakMemory::directory_ = nullptr;

TEST_F(PeakMemory, OfTheExactCacheIsRefusedBeforeWorkWithBothNumbers) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers hold memory of their own";
#endif
  const ProgramResult exact = Run("exact");
  EXPECT_NE(exact.exit_code, 0);
  EXPECT_NE(exact.err.find("a prompt of 10000 tokens needs 14.65 MiB of KV"), std::string::npos)
      << exact.err;
  EXPECT_NE(exact.err.find("of 27.00 MiB are free"), std::string::npos) << exact.err;
}

TEST_P(PeakMemory, StaysUnderTheLimit) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers hold memory of their own";
#endif
  const ProgramResult result = Run(GetParam());
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.err.find("prompt 10000 tokens, 0 from the cache"), std::string::npos)
      << result.err;
  const int64_t resident = Bytes(result.err, "resident"), limit = Bytes(result.err, "limit");
  EXPECT_EQ(limit, 27 << 20);
  EXPECT_GT(resident, 4 << 20);
  EXPECT_LE(resident, limit) << result.err;
  // What is accounted for is what is there.
  EXPECT_LE(resident, Bytes(result.err, "accounted") + (1 << 20)) << result.err;
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, PeakMemory,
    testing::Values("int4h",                                       // codec by token
                    "kivi:2",                                      // codec by block
                    "snapkv:256 schedule=chunks",                  // cap, chunk by chunk
                    "score=cake budget=cake:256 schedule=chunks",  // budgets by layer
                    "score=window(32) budget=256 disposition=d2o schedule=chunks",  // merge
                    "adakv:256 schedule=chunks codec=q8_0",                         // cap and codec
                    "quest:16+int4h",           // selector and codec
                    "exact overflow=stream"));  // by the limit itself

}  // namespace
}  // namespace kvasir::cli
