#include "kvasir/kernels/weight_stripes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

#include "kvasir/core/isa.h"

namespace kvasir {
namespace {

constexpr TensorType kStriped[] = {TensorType::kQ4_0, TensorType::kQ4_1, TensorType::kQ5_0,
                                   TensorType::kQ5_1, TensorType::kQ8_0, TensorType::kQ4_K,
                                   TensorType::kQ5_K, TensorType::kQ6_K};
constexpr size_t kGuard = 64;

struct Case {
  TensorType type;
  int64_t rows;
  int64_t n_block;  // of a row
  size_t from_at;   // bytes past a multiple of 64
  size_t to_at;
};

std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << InfoOf(c.type).name << ", " << c.rows << " rows of " << c.n_block
             << " blocks, from " << c.from_at << " to " << c.to_at;
}

std::byte* Aligned(std::vector<std::byte>& bytes) {
  return bytes.data() + (64 - reinterpret_cast<uintptr_t>(bytes.data()) % 64) % 64;
}

class Rows {
 public:
  explicit Rows(const Case& c) : case_(c) {
    const TensorTypeInfo& info = InfoOf(c.type);
    w.type = c.type;
    w.rows = c.rows;
    w.cols = c.n_block * static_cast<int64_t>(info.block_elements);
    w.row_bytes = RowBytes(c.type, static_cast<size_t>(w.cols));
    bytes_.resize(64 + c.from_at + n_byte());
    std::byte* from = Aligned(bytes_) + c.from_at;
    std::mt19937 random(static_cast<uint32_t>(c.rows * 100 + c.n_block));
    for (size_t i = 0; i < n_byte(); ++i) from[i] = static_cast<std::byte>(random());
    w.data = from;
  }
  size_t n_byte() const { return static_cast<size_t>(w.rows) * w.row_bytes; }

  // Written in two calls where there are rows for it, between bytes that nobody may touch.
  std::vector<std::byte> Stripe(Isa isa) const {
    std::vector<std::byte> bytes(64 + kGuard + case_.to_at + n_byte() + kGuard, std::byte{0xa5});
    std::byte* to = Aligned(bytes) + kGuard + case_.to_at;
    ForceIsa(isa);
    const int64_t split = std::min<int64_t>(2 * kStripeRows, w.rows);
    StripeRows(w, 0, split, to);
    if (split < w.rows) StripeRows(w, split, w.rows, to);
    ForceIsa(DetectedIsa());
    for (size_t i = 0; i < kGuard; ++i) {
      EXPECT_EQ((to - kGuard)[i], std::byte{0xa5}) << IsaName(isa) << " " << i;
      EXPECT_EQ((to + n_byte())[i], std::byte{0xa5}) << IsaName(isa) << " " << i;
    }
    return {to, to + n_byte()};
  }

  Tensor w;

 private:
  Case case_;
  std::vector<std::byte> bytes_;
};

std::vector<Case> Cases() {
  std::vector<Case> cases;
  for (TensorType type : kStriped) {
    for (int64_t rows : {1, 15, 16, 17, 31, 32, 33, 64, 83}) {
      for (int64_t n_block : {1, 2, 3, 8}) {
        for (size_t at : {0, 1, 2, 32}) cases.push_back({type, rows, n_block, at, at});
        cases.push_back({type, rows, n_block, 2, 0});
      }
    }
  }
  return cases;
}

TEST(WeightStripes, EveryVariantWritesTheBytesOfTheScalarOne) {
  for (const Case& c : Cases()) {
    const Rows rows(c);
    const std::vector<std::byte> expected = rows.Stripe(Isa::kScalar);
    for (Isa isa : RunnableIsas()) {
      const std::vector<std::byte> got = rows.Stripe(isa);
      const auto at = std::ranges::mismatch(got, expected).in1 - got.begin();
      ASSERT_EQ(at, static_cast<ptrdiff_t>(got.size())) << IsaName(isa) << ", " << c;
    }
  }
}

TEST(WeightStripes, RowsComeBackAsTheyWere) {
  for (const Case& c : Cases()) {
    const Rows rows(c);
    const std::vector<std::byte> stripes = rows.Stripe(DetectedIsa());
    Tensor striped = rows.w;
    striped.data = stripes.data();
    striped.striped = true;
    std::vector<std::byte> row(rows.w.row_bytes);
    for (int64_t r = 0; r < c.rows; ++r) {
      CopyRow(striped, r, row.data());
      const std::byte* expected = rows.w.data + static_cast<size_t>(r) * row.size();
      ASSERT_EQ(std::memcmp(row.data(), expected, row.size()), 0) << c << ", row " << r;
    }
  }
}

// Each field of 16 rows side by side, in the words of weight_stripes.h.
TEST(WeightStripes, FieldsOfSixteenRowsLieSideBySide) {
  const Rows rows({TensorType::kQ4_0, 16, 2, 0, 0});  // blocks of an f16 and 16 bytes
  for (Isa isa : RunnableIsas()) {
    const std::vector<std::byte> stripes = rows.Stripe(isa);
    for (size_t r = 0; r < 16; ++r) {
      const std::byte* row = rows.w.data + r * rows.w.row_bytes;
      for (size_t block : {0, 18}) {
        const std::byte* run = stripes.data() + 16 * block;
        EXPECT_EQ(std::memcmp(run + 2 * r, row + block, 2), 0) << IsaName(isa) << " row " << r;
        for (size_t at : {2, 6, 10, 14}) {
          EXPECT_EQ(std::memcmp(run + 16 * at + 4 * r, row + block + at, 4), 0)
              << IsaName(isa) << " row " << r << " byte " << at;
        }
      }
    }
  }
}

}  // namespace
}  // namespace kvasir
