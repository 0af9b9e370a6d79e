#include "kvasir/core/thread_team.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <vector>

namespace kvasir {
namespace {

TEST(ThreadTeam, RunsEveryTaskOnce) {
  for (int n_thread : {1, 2, 3, 8}) {
    ThreadTeam team(n_thread);
    EXPECT_EQ(team.size(), n_thread);
    for (int n_task : {0, 1, 2, 7, 1000}) {
      std::vector<std::atomic<int>> runs(n_task);
      std::atomic<int> bad_thread = 0;
      team.Run(n_task, [&](int64_t task, int thread) {
        runs[task].fetch_add(1);
        if (thread < 0 || thread >= n_thread) bad_thread.fetch_add(1);
      });
      team.RunInShares(n_task, [&](int64_t task, int thread) {
        runs[task].fetch_add(1);
        if (thread < 0 || thread >= n_thread) bad_thread.fetch_add(1);
      });
      for (const auto& n : runs) EXPECT_EQ(n.load(), 2);
      EXPECT_EQ(bad_thread.load(), 0);
    }
  }
}

// A thread that is held up in its share does not hold up the rest of it.
TEST(ThreadTeam, SharesOfABusyThreadAreTakenByOthers) {
  ThreadTeam team(2);
  constexpr int kTasks = 100;
  std::atomic<int> n_done = 0;
  std::vector<int> thread_of(kTasks);
  team.RunInShares(kTasks, [&](int64_t task, int thread) {
    thread_of[task] = thread;
    // The first task, most likely the caller's, ends when all others have.
    while (task == 0 && n_done.load() < kTasks - 1) std::this_thread::yield();
    n_done.fetch_add(1);
  });
  EXPECT_EQ(n_done.load(), kTasks);
  EXPECT_TRUE(std::all_of(thread_of.begin() + 1, thread_of.begin() + kTasks / 2,
                          [&](int thread) { return thread != thread_of[0]; }));
}

TEST(ThreadTeam, WakesParkedWorkersAndPublishesWrites) {
  ThreadTeam team(3);
  std::vector<int64_t> values(64, 0);
  for (int round = 1; round <= 200; ++round) {
    if (round % 50 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    team.Run(64, [&](int64_t task, int) { values[task] += task; });
  }
  for (int64_t task = 0; task < 64; ++task) EXPECT_EQ(values[task], 200 * task);
}

}  // namespace
}  // namespace kvasir
