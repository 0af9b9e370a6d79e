#include "cli/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <vector>

namespace kvasir::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

// A sink that keeps what is written, and a clock that the test moves.
struct Screen {
  std::vector<std::string> writes;
  std::chrono::steady_clock::time_point time{};
  ProgressSink sink;

  explicit Screen(bool redraw) {
    sink.write = [this](std::string_view text) { writes.emplace_back(text); };
    sink.now = [this] { return time; };
    sink.redraw = redraw;
  }
  void Pass(double seconds) {
    time += std::chrono::duration_cast<std::chrono::steady_clock::duration>(
        std::chrono::duration<double>(seconds));
  }
};

TEST(ProgressBar, PrintsSparsePlainLinesWhereNothingCanBeRedrawn) {
  Screen screen(false);
  ProgressBar bar("prefill", ProgressUnit::kTokens, screen.sink);
  for (int i = 1; i <= 20; ++i) {
    screen.Pass(1);
    bar.Update(i * 50, 1000);
  }
  EXPECT_THAT(screen.writes, ElementsAre("prefill  25% 250/1000 tokens 50/s 15s left\n",
                                         "prefill  50% 500/1000 tokens 50/s 10s left\n",
                                         "prefill  75% 750/1000 tokens 50/s 5s left\n",
                                         "prefill 100% 1000/1000 tokens 50/s\n"));
}

TEST(ProgressBar, LeavesNothingOnALogWhenItIsQuick) {
  Screen screen(false);
  ProgressBar bar("load", ProgressUnit::kBytes, screen.sink);
  screen.Pass(0.4);
  bar.Update(10, 10);
  EXPECT_TRUE(screen.writes.empty());
}

TEST(ProgressBar, RedrawsOneLineAtMostTenTimesASecond) {
  Screen screen(true);
  ProgressBar bar("load", ProgressUnit::kBytes, screen.sink);
  for (int i = 1; i <= 1000; ++i) {
    screen.Pass(0.01);
    bar.Update(static_cast<uint64_t>(i) << 20, 1000 << 20);
  }
  EXPECT_LE(screen.writes.size(), 101u);
  EXPECT_GE(screen.writes.size(), 90u);
  for (const std::string& write : screen.writes) {
    EXPECT_THAT(write, StartsWith("\r\x1b[K"));
    EXPECT_LE(write.size(), 4u + 80u);
  }
  EXPECT_THAT(screen.writes.back(), HasSubstr("100% 1000.00 MiB 100.00 MiB/s\n"));
  EXPECT_THAT(screen.writes[screen.writes.size() - 2], Not(HasSubstr("\n")));
}

TEST(ProgressBar, FitsANarrowTerminal) {
  Screen screen(true);
  screen.sink.width = 30;
  ProgressBar bar("prefill", ProgressUnit::kTokens, screen.sink);
  screen.Pass(1);
  bar.Update(123456, 1000000);
  ASSERT_EQ(screen.writes.size(), 1u);
  EXPECT_LE(screen.writes[0].size(), 4u + 29u);
}

TEST(ProgressBar, ClearsItsLineWhenTheWorkIsAbandoned) {
  Screen screen(true);
  {
    ProgressBar bar("prefill", ProgressUnit::kTokens, screen.sink);
    screen.Pass(1);
    bar.Update(1, 10);
  }
  EXPECT_EQ(screen.writes.back(), "\r\x1b[K");
}

TEST(ProgressBar, UsesColourOnlyWhereItIsWanted) {
  for (const bool color : {false, true}) {
    Screen screen(true);
    screen.sink.color = color;
    ProgressBar bar("load", ProgressUnit::kBytes, screen.sink);
    screen.Pass(1);
    bar.Update(5, 10);
    EXPECT_EQ(screen.writes[0].find("\x1b[32m") != std::string::npos, color);
  }
}

TEST(ProgressBar, CountsUpWhenTheTotalIsUnknown) {
  Screen screen(false);
  ProgressBar bar("read", ProgressUnit::kTokens, screen.sink);
  screen.Pass(6);
  bar.Update(30, 0);
  EXPECT_THAT(screen.writes, ElementsAre("read 30 tokens 5.0/s\n"));
}

TEST(StderrSink, HonoursNoColor) {
  ASSERT_EQ(setenv("NO_COLOR", "1", 1), 0);
  EXPECT_FALSE(StderrSink().color);
  unsetenv("NO_COLOR");
}

}  // namespace
}  // namespace kvasir::cli
