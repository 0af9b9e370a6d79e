#include "kvasir/core/byte_ledger.h"

#include <gmock/gmock.h>

namespace kvasir {
namespace {

TEST(ByteLedger, NeverPassesItsLimit) {
  ByteLedger ledger(1000);
  ASSERT_TRUE(ledger.Charge(ByteKind::kWeights, 600).ok());
  const Status refused = ledger.Charge(ByteKind::kKv, 401);
  EXPECT_EQ(refused.code(), StatusCode::kOutOfMemory);
  EXPECT_THAT(refused.message(), testing::HasSubstr("kv needs 401 B more; 600 B of 1000 B"));
  EXPECT_EQ(ledger.held(), 600);
  EXPECT_EQ(ledger.held(ByteKind::kKv), 0);
  ASSERT_TRUE(ledger.Charge(ByteKind::kKv, 400).ok());
  EXPECT_EQ(ledger.available(), 0);
  ledger.Release(ByteKind::kWeights, 600);
  EXPECT_EQ(ledger.held(), 400);
  EXPECT_EQ(ledger.peak(), 1000);
}

TEST(ByteCharge, ReleasesOnceWhateverTheMoves) {
  ByteLedger ledger;
  {
    auto taken = ByteCharge::Take(ledger, ByteKind::kScratch, 64);
    ASSERT_TRUE(taken.ok());
    ByteCharge moved = std::move(taken).value();
    ByteCharge other = std::move(moved);
    moved = std::move(other);
    EXPECT_EQ(ledger.held(ByteKind::kScratch), 64);
  }
  EXPECT_EQ(ledger.held(), 0);
}

TEST(FormatBytes, PicksTheUnit) {
  EXPECT_EQ(FormatBytes(17), "17 B");
  EXPECT_EQ(FormatBytes(4096), "4.00 KiB");
  EXPECT_EQ(FormatBytes(int64_t{3} << 29), "1.50 GiB");
}

}  // namespace
}  // namespace kvasir
