#include "kvasir/policy/selectors/charged_array.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace kvasir {
namespace {

TEST(ChargedArray, HoldsWhatAVectorHolds) {
  ByteLedger ledger;
  SlabArena arena(ledger, ByteKind::kKv);
  std::mt19937 rng(1);
  {
    ChargedArray<uint16_t> array(&arena, ByteKind::kIndex);
    std::vector<uint16_t> expected;
    for (int step = 0; step < 400; ++step) {
      const size_t n = rng() % 8 == 0 ? rng() % 40000 : expected.size() + rng() % 500;
      ASSERT_TRUE(array.Resize(static_cast<int64_t>(n)).ok());
      expected.resize(n);
      for (int i = 0; i < 20 && n > 0; ++i) {
        const size_t at = rng() % n;
        array[static_cast<int64_t>(at)] = expected[at] = static_cast<uint16_t>(rng());
      }
      if (rng() % 8 == 0) array = array.Copy().value();
      if (rng() % 8 == 0) {
        ChargedArray<uint16_t> other = std::move(array);
        array = std::move(other);
      }
      ASSERT_EQ(std::vector(array.data(), array.data() + array.size()), expected);
      ASSERT_GE(ledger.held(ByteKind::kIndex), array.bytes());
      ASSERT_EQ(ledger.held(), ledger.held(ByteKind::kIndex));
    }
  }
  EXPECT_EQ(ledger.held(), 0);
}

TEST(ChargedArray, ThatTheLedgerRefusesStaysAsItWas) {
  for (const int64_t limit : {2000, 400000}) {  // in the heap and in the arena
    ByteLedger ledger(limit);
    SlabArena arena(ledger, ByteKind::kKv);
    ChargedArray<int32_t> array(&arena, ByteKind::kIndex);
    ASSERT_TRUE(array.Resize(limit / 8).ok());
    array[limit / 8 - 1] = 7;
    const int64_t held = ledger.held();
    EXPECT_EQ(array.Resize(limit / 4 + 1).code(), StatusCode::kOutOfMemory);
    EXPECT_EQ(array.size(), limit / 8);
    EXPECT_EQ(array[limit / 8 - 1], 7);
    EXPECT_EQ(ledger.held(), held);
  }
}

TEST(ChargedArray, ManyThatGrowTogetherLeaveLittleBehind) {
  ByteLedger ledger;
  SlabArena arena(ledger, ByteKind::kKv);
  std::vector<ChargedArray<uint8_t>> arrays;
  for (int i = 0; i < 64; ++i) arrays.emplace_back(&arena, ByteKind::kIndex);
  for (int64_t n = 4096; n <= 4096 * 64; n += 4096) {
    int64_t bytes = 0;
    for (ChargedArray<uint8_t>& array : arrays) {
      ASSERT_TRUE(array.Resize(n).ok());
      bytes += array.bytes();
    }
    // The last slab of their size.
    ASSERT_LE(arena.mapped_bytes(ByteKind::kIndex), bytes + bytes / 16 + (int64_t{2} << 20)) << n;
    ASSERT_EQ(ledger.held(), arena.mapped_bytes(ByteKind::kIndex));
  }
}

}  // namespace
}  // namespace kvasir
