#include "kvasir/core/thread_team.h"

#include <sched.h>

#include <algorithm>
#include <system_error>

namespace kvasir {
namespace {

// Some tens of microseconds: longer than the serial stretch between two loops of a layer.
constexpr int kSpins = 2000;

inline void Relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace

int ThreadTeam::AvailableCpus() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1u, std::thread::hardware_concurrency());
}

ThreadTeam::ThreadTeam(int n_thread)
    : n_thread_(n_thread > 0 ? n_thread : AvailableCpus()),
      spins_(n_thread_ <= AvailableCpus() ? kSpins : 0),  // a spinner would hold back a worker
      shares_(new Share[static_cast<size_t>(n_thread_)]) {
  for (int thread = 1; thread < n_thread_; ++thread) {
    try {
      workers_.emplace_back([this, thread] { Worker(thread); });
    } catch (const std::system_error&) {
      n_thread_ = thread;
    }
  }
}

ThreadTeam::~ThreadTeam() {
  {
    std::lock_guard lock(mutex_);
    stop_.store(true);
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadTeam::RunErased(int n_share, int64_t n_task, Erased call, const void* body) {
  call_ = call;
  body_ = body;
  n_share_ = n_share;
  for (int i = 0; i < n_share; ++i) {
    shares_[i].next.store(n_task * i / n_share, std::memory_order_relaxed);
    shares_[i].end = n_task * (i + 1) / n_share;
  }
  const uint64_t loop = (gate_.load(std::memory_order_relaxed) >> 32) + 1;
  gate_.store(loop << 32 | kOpen);
  if (n_parked_.load() > 0) {
    // Taking the lock orders this wake-up after a worker's last look at the gate.
    { std::lock_guard lock(mutex_); }
    wake_.notify_all();
  }
  Work(0);
  gate_.fetch_and(~kOpen);
  for (int spins = 0; static_cast<uint32_t>(gate_.load(std::memory_order_acquire)) != 0; ++spins) {
    // With more threads than CPUs a worker may not be running: let it.
    if (spins < spins_) {
      Relax();
    } else {
      std::this_thread::yield();
    }
  }
}

void ThreadTeam::Work(int thread) {
  for (int i = 0; i < n_share_; ++i) {
    Share& share = shares_[(thread + i) % n_share_];
    while (true) {
      const int64_t task = share.next.fetch_add(1, std::memory_order_relaxed);
      if (task >= share.end) break;
      call_(body_, task, thread);
    }
  }
}

bool ThreadTeam::LoopWaits(uint64_t last_loop) const {
  const uint64_t gate = gate_.load(std::memory_order_acquire);
  return (gate & kOpen) != 0 && gate >> 32 != last_loop;
}

void ThreadTeam::Worker(int thread) {
  uint64_t last_loop = 0;
  while (!stop_.load()) {
    for (int spins = 0; !LoopWaits(last_loop) && spins < spins_; ++spins) Relax();
    if (!LoopWaits(last_loop)) {
      std::unique_lock lock(mutex_);
      n_parked_.fetch_add(1);
      wake_.wait(lock, [&] { return stop_.load() || LoopWaits(last_loop); });
      n_parked_.fetch_sub(1);
    }
    uint64_t gate = gate_.load();
    while ((gate & kOpen) != 0 && !gate_.compare_exchange_weak(gate, gate + 1)) {
    }
    if ((gate & kOpen) == 0) continue;  // closed before this worker got in
    last_loop = gate >> 32;
    Work(thread);
    gate_.fetch_sub(1, std::memory_order_release);
  }
}

}  // namespace kvasir
