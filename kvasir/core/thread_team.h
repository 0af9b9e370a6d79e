// A fixed team of threads that runs one parallel loop at a time. Between loops the workers spin for
// a short while and then park, so that the loops of one forward pass follow each other without a
// system call and an idle engine costs nothing.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace kvasir {

class ThreadTeam {
 public:
  // `n_thread` counts the caller; 0 takes the CPUs this process may run on. Where the system
  // refuses a thread the team is smaller than asked for: size() tells.
  explicit ThreadTeam(int n_thread = 0);
  ~ThreadTeam();
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;

  int size() const { return n_thread_; }
  // CPUs this process may run on.
  static int AvailableCpus();

  // Runs body(task, thread) for every task in [0, n_task), tasks handed out in ascending order to
  // whichever thread is free; `thread` is in [0, size()). Returns when all have ended. Results must
  // not depend on which thread runs a task. `body` must not throw and must not call Run. One caller
  // at a time.
  template <typename Body>
  void Run(int64_t n_task, const Body& body) {
    RunIn(1, n_task, body);
  }
  // The same, but each thread first takes its own share of the tasks, which lie next to each other,
  // in ascending order, and then what is left of the others'. For loops that stream through memory:
  // wherever a thread goes on to a new place it waits for about a microsecond.
  template <typename Body>
  void RunInShares(int64_t n_task, const Body& body) {
    RunIn(n_thread_, n_task, body);
  }

 private:
  using Erased = void (*)(const void* body, int64_t task, int thread);
  // Tasks that are handed out in ascending order.
  struct alignas(64) Share {
    std::atomic<int64_t> next{0};
    int64_t end = 0;
  };
  template <typename Body>
  void RunIn(int n_share, int64_t n_task, const Body& body) {
    if (n_thread_ == 1 || n_task <= 1) {
      for (int64_t task = 0; task < n_task; ++task) body(task, 0);
      return;
    }
    RunErased(
        n_share, n_task,
        [](const void* b, int64_t task, int thread) {
          (*static_cast<const Body*>(b))(task, thread);
        },
        &body);
  }
  void RunErased(int n_share, int64_t n_task, Erased call, const void* body);
  void Work(int thread);
  void Worker(int thread);
  bool LoopWaits(uint64_t last_loop) const;

  int n_thread_;
  int spins_;
  Erased call_ = nullptr;
  const void* body_ = nullptr;
  int n_share_ = 0;
  std::unique_ptr<Share[]> shares_;  // (n_thread)
  // Loop number << 32 | kOpen | workers inside. A worker joins an open loop by counting itself in;
  // the caller closes the loop when the tasks have run out and waits for those who joined. A worker
  // that the system has not scheduled is never waited for.
  static constexpr uint64_t kOpen = uint64_t{1} << 31;
  alignas(64) std::atomic<uint64_t> gate_{0};
  alignas(64) std::atomic<int> n_parked_{0};
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::thread> workers_;
};

}  // namespace kvasir
