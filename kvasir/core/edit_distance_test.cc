#include "kvasir/core/edit_distance.h"

#include <gtest/gtest.h>

namespace kvasir {
namespace {

TEST(EditDistance, CountsASwapAsOne) {
  EXPECT_EQ(EditDistance("-ckt", "-ctk"), 1u);
  EXPECT_EQ(EditDistance("kitten", "sitting"), 3u);
  EXPECT_EQ(EditDistance("", "abc"), 3u);
}

}  // namespace
}  // namespace kvasir
