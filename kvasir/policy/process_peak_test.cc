// The ledger's peak beside the process's own: every byte that grows with a sequence is accounted.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kvasir/core/process_memory.h"
#include "kvasir/policy/policy_testing.h"

namespace kvasir {
namespace {

struct Peaks {
  int64_t process = 0;  // above what was resident before the sequence
  int64_t ledger = 0;
  bool ok = false;
};

// A sequence under a recipe in a process of its own, whose peak is therefore this run's alone.
Peaks PeaksOf(const CacheShape& shape, const std::string& recipe, std::vector<LayerData>& layers,
              int n_prompt) {
  int ends[2];
  if (pipe(ends) != 0) return {};
  const pid_t child = fork();
  if (child == 0) {
    Peaks peaks;
    if (ResetProcessPeak().ok()) {
      const int64_t before = ReadProcessMemory()->peak;
      PolicyWorld world(shape, recipe, std::move(layers));
      peaks.ok = world.Prefill(n_prompt, 256).ok() && world.Decode(40).ok();
      peaks.process = ReadProcessMemory()->peak - before;
      peaks.ledger = world.arena().ledger().peak();
    }
    _exit(write(ends[1], &peaks, sizeof(peaks)) == sizeof(peaks) ? 0 : 1);
  }
  close(ends[1]);
  Peaks peaks;
  if (read(ends[0], &peaks, sizeof(peaks)) != sizeof(peaks)) peaks = {};
  close(ends[0]);
  waitpid(child, nullptr, 0);
  return peaks;
}

TEST(ProcessPeak, IsWhatTheLedgerSays) {
  if (!ResetProcessPeak().ok()) GTEST_SKIP() << "the peak of a process cannot be reset here";
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "sanitizers hold bytes of their own";
#endif
  // What a run holds beside: stacks of threads, rows of the test's own, pages that the allocator
  // keeps for later.
  constexpr int64_t kSlack = int64_t{6} << 20;
  CacheShape shape;
  shape.n_layer = 8;
  shape.n_head = 8;
  shape.n_kv_head = 8;
  shape.head_dim = 64;
  constexpr int kPrompt = 2048;
  std::vector<LayerData> layers = RandomLayers(shape, kPrompt + 48, 1);
  for (const char* recipe :
       {"exact", "int4h", "kivi:2", "h2o(budget=512,recent=64)",
        "snapkv(budget=512,window=32) disposition=d2o",
        "snapkv(budget=512,window=32) disposition=demote(int4h)", "quest(pages=16)",
        "quest(pages=16)+int4h", "score=keydiff budget=512 protect=recent(64) schedule=chunks(8)",
        "exact prefill=xattention(most=25%)", "exact prefill=minference(256,256)"}) {
    const Peaks peaks = PeaksOf(shape, recipe, layers, kPrompt);
    RecordProperty(recipe, std::to_string(peaks.process) + " of " + std::to_string(peaks.ledger));
    ASSERT_TRUE(peaks.ok) << recipe;
    EXPECT_LE(peaks.process, peaks.ledger + kSlack) << recipe;
    // Nor is the account idle: what it holds is there.
    EXPECT_GE(peaks.process, peaks.ledger / 2 - kSlack) << recipe;
  }
}

}  // namespace
}  // namespace kvasir
