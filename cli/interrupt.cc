#include "cli/interrupt.h"

namespace kvasir::cli {
namespace {

std::atomic<bool> g_requested{false};
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler may only touch these");

extern "C" void OnInterrupt(int) {
  if (!g_requested.exchange(true)) return;
  std::signal(SIGINT, SIG_DFL);
  std::raise(SIGINT);
}

}  // namespace

InterruptScope::InterruptScope() {
  Clear();
  struct sigaction action {};
  action.sa_handler = OnInterrupt;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, &before_);
}

InterruptScope::~InterruptScope() { sigaction(SIGINT, &before_, nullptr); }

const std::atomic<bool>& InterruptScope::flag() { return g_requested; }

void InterruptScope::Clear() { g_requested.store(false); }

}  // namespace kvasir::cli
