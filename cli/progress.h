// A progress bar on stderr: one redrawn line with rate and time left on a terminal, sparse plain
// lines elsewhere. Results go to stdout, so a pipe never sees it.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace kvasir::cli {

enum class ProgressUnit { kBytes, kTokens };

// Where a bar writes and how. Tests inject all of it.
struct ProgressSink {
  std::function<void(std::string_view)> write;
  std::function<std::chrono::steady_clock::time_point()> now;
  bool redraw = false;  // the sink is a terminal
  bool color = false;
  int width = 80;  // columns
};

// stderr; colour unless NO_COLOR is set and not empty, or TERM is "dumb".
ProgressSink StderrSink();

// Redraws at most ten times a second, or prints a line at the start of every five seconds. A bar
// that ends within half a second leaves nothing on a log. Not thread-safe.
class ProgressBar {
 public:
  ProgressBar(std::string label, ProgressUnit unit, ProgressSink sink = StderrSink());
  // Clears the redrawn line, so that an early return leaves no half bar behind.
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  // `total` 0 = unknown. The call with done == total ends the bar.
  void Update(uint64_t done, uint64_t total);

 private:
  using Clock = std::chrono::steady_clock;

  std::string Line(uint64_t done, uint64_t total, double seconds) const;
  std::string Amount(double amount) const;

  std::string label_;
  ProgressUnit unit_;
  ProgressSink sink_;
  Clock::time_point start_;
  Clock::time_point last_;
  bool drawn_ = false;
  bool ended_ = false;
};

}  // namespace kvasir::cli
