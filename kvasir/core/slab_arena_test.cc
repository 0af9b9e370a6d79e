#include "kvasir/core/slab_arena.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <vector>

namespace kvasir {
namespace {

TEST(SlabArena, GivesZeroedBlocksAndReturnsEverySlab) {
  ByteLedger ledger;
  SlabArena arena(ledger, ByteKind::kKv);
  std::mt19937 rng(1);
  struct Live {
    ArenaBlock block;
    unsigned char fill;
  };
  std::vector<Live> live;
  int64_t used = 0;
  for (int step = 0; step < 5000; ++step) {
    if (live.empty() || rng() % 5 < 3) {
      const int64_t bytes = 64 * (1 + static_cast<int64_t>(rng() % 3) * 30);
      auto block = arena.Allocate(bytes - static_cast<int64_t>(rng() % 64));
      ASSERT_TRUE(block.ok());
      ASSERT_EQ(block->bytes(), bytes);
      ASSERT_EQ(reinterpret_cast<uintptr_t>(block->data()) % 64, 0u);
      for (int64_t i = 0; i < bytes; ++i) ASSERT_EQ(block->data()[i], std::byte{0});
      const auto fill = static_cast<unsigned char>(1 + rng() % 255);
      std::memset(block->data(), fill, static_cast<size_t>(bytes));
      used += bytes;
      live.push_back({std::move(*block), fill});
    } else {
      std::swap(live[rng() % live.size()], live.back());
      for (int64_t i = 0; i < live.back().block.bytes(); ++i) {
        ASSERT_EQ(live.back().block.data()[i], std::byte{live.back().fill});
      }
      used -= live.back().block.bytes();
      live.pop_back();
    }
    ASSERT_EQ(arena.used_bytes(), used);
    ASSERT_EQ(ledger.held(ByteKind::kKv), arena.mapped_bytes());
    ASSERT_GE(arena.mapped_bytes(), used);
  }
  live.clear();
  EXPECT_EQ(arena.mapped_bytes(), 0);
  EXPECT_EQ(ledger.held(), 0);
}

TEST(SlabArena, RunsAreZeroedDistinctAndTogetherWhereTheArenaIsFresh) {
  ByteLedger ledger;
  SlabArena arena(ledger, ByteKind::kKv);
  std::mt19937 rng(2);
  constexpr int64_t kBytes = 1088;
  {
    const ArenaRun fresh = arena.AllocateRun(kBytes - 10, 20).value();
    EXPECT_EQ(fresh.block_bytes(), kBytes);
    for (int64_t i = 1; i < 20; ++i) EXPECT_EQ(fresh.block(i), fresh.block(0) + i * kBytes);
  }
  std::vector<ArenaRun> live;
  int64_t n_used = 0;
  for (int step = 0; step < 600; ++step) {
    if (live.empty() || rng() % 5 < 3) {
      ArenaRun run = arena.AllocateRun(kBytes, 1 + static_cast<int64_t>(rng() % 100)).value();
      for (int64_t i = 0; i < run.n_block(); ++i) {
        for (int64_t j = 0; j < kBytes; ++j) ASSERT_EQ(run.block(i)[j], std::byte{0});
        std::memset(run.block(i), 1 + static_cast<int>(i), kBytes);
      }
      n_used += run.n_block();
      live.push_back(std::move(run));
    } else {
      std::swap(live[rng() % live.size()], live.back());
      const ArenaRun& run = live.back();
      for (int64_t i = 0; i < run.n_block(); ++i) {
        for (int64_t j = 0; j < kBytes; ++j) {
          ASSERT_EQ(run.block(i)[j], std::byte{static_cast<unsigned char>(1 + i)});
        }
      }
      n_used -= run.n_block();
      live.pop_back();
    }
    ASSERT_EQ(arena.used_bytes(), n_used * kBytes);
  }
  live.clear();
  EXPECT_EQ(arena.mapped_bytes(), 0);
}

TEST(SlabArena, ARunThatDoesNotFitTakesNothing) {
  ByteLedger ledger(100000);
  SlabArena arena(ledger, ByteKind::kKv);
  const ArenaRun held = arena.AllocateRun(4096, 10).value();
  EXPECT_EQ(arena.AllocateRun(4096, 10).status().code(), StatusCode::kOutOfMemory);
  EXPECT_EQ(arena.used_bytes(), 10 * 4096);
  EXPECT_TRUE(arena.AllocateRun(4096, 6).ok());
}

TEST(SlabArena, RefusesWhatTheLedgerRefuses) {
  ByteLedger ledger(100000);
  SlabArena arena(ledger, ByteKind::kKv);
  std::vector<ArenaBlock> blocks;
  while (true) {
    auto block = arena.Allocate(4096);
    if (!block.ok()) {
      EXPECT_EQ(block.status().code(), StatusCode::kOutOfMemory);
      break;
    }
    blocks.push_back(std::move(*block));
    ASSERT_LT(blocks.size(), 100u);
  }
  EXPECT_EQ(blocks.size(), 16u);
  EXPECT_LE(ledger.peak(), 100000);
}

TEST(SlabArena, ChargesBlocksOfEachKindAndWastesLittleOnLargeOnes) {
  ByteLedger ledger;
  SlabArena arena(ledger, ByteKind::kKv);
  const ArenaBlock kv = arena.Allocate(4096).value();
  std::vector<ArenaBlock> index;
  // Less than two of them fill a slab of the usual size.
  constexpr int64_t kBytes = (int64_t{11} << 20) / 10 / 64 * 64;
  for (int i = 0; i < 40; ++i) index.push_back(arena.Allocate(kBytes, ByteKind::kIndex).value());
  EXPECT_EQ(arena.used_bytes(), 4096);
  EXPECT_EQ(arena.used_bytes(ByteKind::kIndex), 40 * kBytes);
  EXPECT_EQ(ledger.held(ByteKind::kKv), arena.mapped_bytes());
  EXPECT_EQ(ledger.held(ByteKind::kIndex), arena.mapped_bytes(ByteKind::kIndex));
  EXPECT_LE(arena.mapped_bytes(ByteKind::kIndex), 42 * kBytes);
  index.clear();
  EXPECT_EQ(ledger.held(ByteKind::kIndex), 0);
  EXPECT_EQ(ledger.held(ByteKind::kKv), arena.mapped_bytes());
}

}  // namespace
}  // namespace kvasir
