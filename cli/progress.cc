#include "cli/progress.h"

#include <fmt/core.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "kvasir/core/byte_ledger.h"

namespace kvasir::cli {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kRedrawEvery{100};
constexpr milliseconds kLineEvery{5000};
constexpr milliseconds kQuietFor{500};

// "7s", "3m20s", "2h05m".
std::string FormatSeconds(double seconds) {
  const auto s = static_cast<int64_t>(std::min(std::ceil(seconds), 359999.0));
  if (s < 60) return fmt::format("{}s", s);
  if (s < 3600) return fmt::format("{}m{:02}s", s / 60, s % 60);
  return fmt::format("{}h{:02}m", s / 3600, s / 60 % 60);
}

bool IsSet(const char* variable) {
  const char* value = std::getenv(variable);
  return value && *value != '\0';
}

}  // namespace

ProgressSink StderrSink() {
  ProgressSink sink;
  sink.write = [](std::string_view text) {
    std::fwrite(text.data(), 1, text.size(), stderr);
    std::fflush(stderr);
  };
  sink.now = std::chrono::steady_clock::now;
  const char* term = std::getenv("TERM");
  const bool dumb = term && std::string_view(term) == "dumb";
  sink.redraw = isatty(STDERR_FILENO) == 1 && !dumb;
  sink.color = sink.redraw && !IsSet("NO_COLOR");
  winsize size{};
  if (sink.redraw && ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
    sink.width = size.ws_col;
  }
  return sink;
}

ProgressBar::ProgressBar(std::string label, ProgressUnit unit, ProgressSink sink)
    : label_(std::move(label)),
      unit_(unit),
      sink_(std::move(sink)),
      start_(sink_.now()),
      last_(start_) {}

ProgressBar::~ProgressBar() {
  if (sink_.redraw && drawn_) sink_.write("\r\x1b[K");
}

std::string ProgressBar::Amount(double amount) const {
  if (unit_ == ProgressUnit::kBytes) return FormatBytes(static_cast<int64_t>(amount));
  return amount < 10 ? fmt::format("{:.1f}", amount) : fmt::format("{:.0f}", amount);
}

std::string ProgressBar::Line(uint64_t done, uint64_t total, double seconds) const {
  const double rate = seconds > 0 ? static_cast<double>(done) / seconds : 0;
  const std::string amount =
      unit_ == ProgressUnit::kBytes
          ? FormatBytes(static_cast<int64_t>(done))
          : (total > 0 ? fmt::format("{}/{} tokens", done, total) : fmt::format("{} tokens", done));
  std::string tail = fmt::format(" {} {}/s", amount, Amount(rate));
  if (total == 0) return label_ + tail;
  const double share = std::min(1.0, static_cast<double>(done) / static_cast<double>(total));
  if (done < total && rate > 0) {
    tail += fmt::format(" {} left", FormatSeconds(static_cast<double>(total - done) / rate));
  }
  tail = fmt::format(" {:3.0f}%{}", std::floor(share * 100), tail);
  if (!sink_.redraw) return label_ + tail;

  // One column stays free: writing to the last one wraps on some terminals.
  const int room = sink_.width - 1 - static_cast<int>(label_.size() + tail.size()) - 3;
  const int cells = std::clamp(room, 0, 40);
  if (cells < 4) return (label_ + tail).substr(0, std::max(sink_.width - 1, 0));
  const auto filled = static_cast<size_t>(std::lround(share * cells));
  const std::string on(filled, '#'), off(cells - filled, '.');
  return fmt::format("{} [{}{}{}{}]{}", label_, sink_.color ? "\x1b[32m" : "", on,
                     sink_.color ? "\x1b[0m" : "", off, tail);
}

void ProgressBar::Update(uint64_t done, uint64_t total) {
  if (ended_) return;
  const auto now = sink_.now();
  ended_ = total > 0 && done >= total;
  const bool due = now - last_ >= (sink_.redraw ? kRedrawEvery : kLineEvery);
  // The last state is shown only where something was, or took long enough to be worth a line.
  const bool last_word = ended_ && (drawn_ || now - start_ >= kQuietFor);
  if (!due && !last_word) return;
  last_ = now;
  const double seconds = std::chrono::duration<double>(now - start_).count();
  const std::string line = Line(done, total, seconds);
  if (sink_.redraw) {
    sink_.write("\r\x1b[K" + line + (ended_ ? "\n" : ""));
    drawn_ = !ended_;
  } else {
    sink_.write(line + "\n");
    drawn_ = true;
  }
}

}  // namespace kvasir::cli
