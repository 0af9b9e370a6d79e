#include "kvasir/measure/bandwidth.h"

#include <gtest/gtest.h>

#include "kvasir/core/isa.h"

namespace kvasir {
namespace {

uint64_t PlainChecksum(const ReadMeter& meter) {
  uint64_t sum = 0;
  for (size_t i = 0; i < meter.bytes() / sizeof(uint64_t); ++i) sum ^= meter.words()[i];
  return sum;
}

TEST(ReadMeter, ReadsEveryWordWithEveryIsaAndThreadCount) {
  const auto meter = ReadMeter::Create(5 << 20);
  ASSERT_TRUE(meter.ok()) << meter.status().ToString();
  const uint64_t expected = PlainChecksum(**meter);
  ASSERT_NE(expected, 0u);
  const Isa active = ActiveIsa();
  for (const Isa isa : RunnableIsas()) {
    ForceIsa(isa);
    for (const int n_thread : {1, 2, 3}) {
      ThreadTeam team(n_thread);
      EXPECT_GT((*meter)->Read(team), 0);
      EXPECT_EQ((*meter)->checksum(), expected) << IsaName(isa) << ", threads " << n_thread;
    }
  }
  ForceIsa(active);
}

TEST(ReadMeter, RoundsTheBufferUpToWholeSlices) {
  const auto meter = ReadMeter::Create(1);
  ASSERT_TRUE(meter.ok()) << meter.status().ToString();
  EXPECT_GE((*meter)->bytes(), 1);
  ThreadTeam team(2);
  (*meter)->Read(team);
  EXPECT_EQ((*meter)->checksum(), PlainChecksum(**meter));
}

TEST(ReadMeter, RefusesABufferThatTheSystemHasNot) {
  const auto meter = ReadMeter::Create(int64_t{1} << 60);
  ASSERT_FALSE(meter.ok());
  EXPECT_EQ(meter.status().code(), StatusCode::kOutOfMemory);
}

}  // namespace
}  // namespace kvasir
