// Ctrl-C as a request: work that looks at the flag ends at the next token or chunk and keeps what
// it has; a second Ctrl-C before that ends the program.
#pragma once

#include <atomic>
#include <csignal>

namespace kvasir::cli {

// Catches SIGINT while it lives; one at a time. System calls that wait are interrupted, not
// resumed.
class InterruptScope {
 public:
  InterruptScope();
  ~InterruptScope();
  InterruptScope(const InterruptScope&) = delete;
  InterruptScope& operator=(const InterruptScope&) = delete;

  // Set by the signal; cleared by Clear().
  static const std::atomic<bool>& flag();
  static bool requested() { return flag().load(std::memory_order_relaxed); }
  static void Clear();

 private:
  struct sigaction before_ {};
};

}  // namespace kvasir::cli
