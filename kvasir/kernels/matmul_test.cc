#include "kvasir/kernels/matmul.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <utility>
#include <vector>

#include "kvasir/core/isa.h"
#include "kvasir/kernels/weight_stripes.h"

namespace kvasir {
namespace {

constexpr TensorType kAllTypes[] = {
    TensorType::kF32,  TensorType::kF16,  TensorType::kBF16, TensorType::kQ8_0,
    TensorType::kQ4_0, TensorType::kQ4_1, TensorType::kQ5_0, TensorType::kQ5_1,
    TensorType::kQ4_K, TensorType::kQ5_K, TensorType::kQ6_K,
};

class AlignedBytes {
 public:
  explicit AlignedBytes(size_t size) : bytes_(size + 64) {}
  void* data() {
    const auto address = reinterpret_cast<uintptr_t>(bytes_.data());
    return bytes_.data() + (64 - address % 64) % 64;
  }

 private:
  std::vector<std::byte> bytes_;
};

// Random weights and activations. The weights start `offset` bytes into their buffer, at its very
// end, so that a read past them is one past the allocation.
struct Problem {
  Problem(TensorType type, int64_t rows, int64_t cols, int64_t n_token, size_t offset,
          uint32_t seed)
      : n_token(n_token), x(static_cast<size_t>(n_token * cols)) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (float& v : x) v = normal(random) * std::exp(normal(random));
    const size_t row_bytes = RowBytes(type, static_cast<size_t>(cols));
    bytes.resize(offset + static_cast<size_t>(rows) * row_bytes);
    std::vector<float> row(static_cast<size_t>(cols));
    for (int64_t r = 0; r < rows; ++r) {
      for (float& v : row) v = normal(random);
      QuantizeRow(type, row.data(), bytes.data() + offset + static_cast<size_t>(r) * row_bytes,
                  cols);
    }
    w = {type, rows, cols, bytes.data() + offset, row_bytes};
  }

  // (n_token, rows + 3), the spare columns untouched at -7.
  std::vector<float> Run(Isa isa, int n_thread) const { return Run(isa, n_thread, 0, n_token); }
  std::vector<float> Run(Isa isa, int n_thread, int64_t first, int64_t n) const {
    ForceIsa(isa);
    ThreadTeam team(n_thread);
    AlignedBytes prepared(PreparedBytes(w.type, n, w.cols));
    PrepareActivations(w.type, x.data() + first * w.cols, w.cols, n, w.cols, prepared.data(), team);
    std::vector<float> y(static_cast<size_t>(n * (w.rows + 3)), -7.0f);
    MatMul(w, prepared.data(), n, y.data(), w.rows + 3, team);
    ForceIsa(DetectedIsa());
    return y;
  }

  int64_t n_token;
  std::vector<float> x;
  std::vector<std::byte> bytes;
  Tensor w;
};

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// The same weights in stripes.
Problem Striped(const Problem& plain) {
  Problem p = plain;
  p.bytes.assign(static_cast<size_t>(p.w.rows) * p.w.row_bytes + 1, std::byte{0});
  StripeRows(plain.w, 0, std::min<int64_t>(32, p.w.rows), p.bytes.data() + 1);
  if (p.w.rows > 32) StripeRows(plain.w, 32, p.w.rows, p.bytes.data() + 1);
  p.w.data = p.bytes.data() + 1;
  p.w.striped = true;
  return p;
}

class EveryType : public testing::TestWithParam<TensorType> {};

// Against dequantised weights and unrounded activations in double.
TEST_P(EveryType, ScalarProductIsNearTheExactOne) {
  const TensorType type = GetParam();
  const Problem p(type, 19, 512, 11, 0, 7);
  const std::vector<float> y = p.Run(Isa::kScalar, 1);
  const bool rounded = InfoOf(type).block_elements > 1;
  std::vector<float> row(512);
  for (int64_t r = 0; r < p.w.rows; ++r) {
    DequantizeRow(type, p.w.data + static_cast<size_t>(r) * p.w.row_bytes, row.data(), 512);
    for (int64_t t = 0; t < p.n_token; ++t) {
      double exact = 0, power = 0;
      for (int64_t k = 0; k < 512; ++k) {
        const double term = static_cast<double>(row[k]) * p.x[t * 512 + k];
        exact += term;
        power += term * term;
      }
      const double tolerance = std::sqrt(power) * (rounded ? 0.1 : 1e-5);
      ASSERT_NEAR(y[t * (p.w.rows + 3) + r], exact, tolerance) << "row " << r << " token " << t;
    }
  }
}

TEST_P(EveryType, StripesGiveTheBitsOfRows) {
  const TensorType type = GetParam();
  if (!HasStripes(type)) GTEST_SKIP() << "floats lie in rows";
  const auto block = static_cast<int64_t>(InfoOf(type).block_elements);
  for (int64_t rows : {1, 15, 16, 17, 40, 64, 75}) {
    for (int64_t n_token : {1, 2, 4, 5, 8, 9, 20}) {
      const Problem rows_of(type, rows, block * (1 + rows % 5), n_token, 0,
                            static_cast<uint32_t>(rows * 100 + n_token));
      const Problem striped = Striped(rows_of);
      std::vector<std::byte> row(rows_of.w.row_bytes);
      for (int64_t r = 0; r < rows; ++r) {
        CopyRow(striped.w, r, row.data());
        ASSERT_EQ(std::memcmp(row.data(), rows_of.w.data + static_cast<size_t>(r) * row.size(),
                              row.size()),
                  0)
            << "row " << r;
      }
      const std::vector<float> expected = rows_of.Run(Isa::kScalar, 1);
      for (Isa isa : RunnableIsas()) {
        ASSERT_TRUE(SameBits(striped.Run(isa, 2), expected))
            << IsaName(isa) << " rows " << rows << " tokens " << n_token;
      }
    }
  }
}

TEST_P(EveryType, EveryIsaAndThreadCountGivesTheBitsOfScalar) {
  const TensorType type = GetParam();
  const auto block = static_cast<int64_t>(InfoOf(type).block_elements);
  std::mt19937 random(static_cast<uint32_t>(type));
  const int64_t kTokens[] = {1, 2, 3, 5, 8, 15, 16, 17, 33, 64, 100};
  int i = 0;
  for (int64_t n_token : kTokens) {
    for (int repeat = 0; repeat < 3; ++repeat, ++i) {
      const int64_t rows = 1 + static_cast<int64_t>(random() % 70);
      const int64_t blocks = repeat == 0 ? 1 : 1 + static_cast<int64_t>(random() % 9);
      const int64_t cols = block == 1 ? 1 + static_cast<int64_t>(random() % 300) : blocks * block;
      const Problem p(type, rows, cols, n_token, random() % 5, static_cast<uint32_t>(i));
      const std::vector<float> expected = p.Run(Isa::kScalar, 1);
      for (Isa isa : RunnableIsas()) {
        for (int n_thread : {1, 2, 3}) {
          ASSERT_TRUE(SameBits(p.Run(isa, n_thread), expected))
              << IsaName(isa) << " threads " << n_thread << " rows " << rows << " cols " << cols
              << " tokens " << n_token;
        }
      }
    }
  }
}

TEST_P(EveryType, LongRowsGiveTheBitsOfScalar) {
  for (int64_t n_token : {1, 9, 40}) {
    const Problem p(GetParam(), 37, 4352, n_token, 2, 5);
    const std::vector<float> expected = p.Run(Isa::kScalar, 1);
    for (Isa isa : RunnableIsas()) {
      ASSERT_TRUE(SameBits(p.Run(isa, 2), expected)) << IsaName(isa) << " tokens " << n_token;
    }
  }
}

TEST_P(EveryType, TokensInOneCallOrManyGiveTheSameBits) {
  const Problem p(GetParam(), 33, 768, 29, 0, 3);
  for (Isa isa : RunnableIsas()) {
    const std::vector<float> whole = p.Run(isa, 2);
    for (int64_t chunk : {1, 4, 12}) {
      std::vector<float> pieces;
      for (int64_t t = 0; t < p.n_token; t += chunk) {
        const auto part = p.Run(isa, 1, t, std::min<int64_t>(chunk, p.n_token - t));
        pieces.insert(pieces.end(), part.begin(), part.end());
      }
      EXPECT_TRUE(SameBits(pieces, whole)) << IsaName(isa) << " chunk " << chunk;
    }
  }
}

TEST_P(EveryType, RowsOfAFusedTensorGiveTheBitsOfTheWhole) {
  const Problem whole(GetParam(), 50, 512, 3, 0, 9);
  for (Isa isa : RunnableIsas()) {
    const std::vector<float> y = whole.Run(isa, 1);
    Problem part = whole;
    part.w = Tensor{whole.w.type, 50, 512, part.bytes.data(), whole.w.row_bytes}.Rows(7, 21);
    const std::vector<float> z = part.Run(isa, 1);
    for (int64_t t = 0; t < 3; ++t) {
      for (int64_t r = 0; r < 21; ++r) ASSERT_EQ(z[t * 24 + r], y[t * 53 + 7 + r]) << IsaName(isa);
    }
  }
}

TEST_P(EveryType, AnActivationThatIsNotFiniteMakesItsTokenNotFiniteAndNoOther) {
  Problem p(GetParam(), 20, 512, 3, 0, 4);
  const std::vector<float> clean = p.Run(Isa::kScalar, 1);
  p.x[512 + 100] = std::numeric_limits<float>::quiet_NaN();
  for (Isa isa : RunnableIsas()) {
    const std::vector<float> y = p.Run(isa, 1);
    for (int64_t r = 0; r < 20; ++r) {
      EXPECT_EQ(y[r], clean[r]);
      EXPECT_TRUE(std::isnan(y[23 + r]));
      EXPECT_EQ(y[46 + r], clean[46 + r]);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(MatMul, EveryType, testing::ValuesIn(kAllTypes),
                         [](const auto& info) { return std::string(InfoOf(info.param).name); });

void ExpectExtremeCodesGiveTheBitsOfScalar(TensorType type, int fill, int64_t n_token) {
  Problem p(type, 17, 512, n_token, 0, 1);
  for (float& v : p.x) v = fill & 1 ? 3.0f : -3.0f;
  std::memset(p.bytes.data(), fill, p.bytes.size());
  const size_t block_bytes = InfoOf(type).block_bytes;
  const uint16_t one = 0x3c00;
  const size_t d_at = type == TensorType::kQ6_K ? 208 : 0;
  for (size_t at = 0; at < p.bytes.size(); at += block_bytes) {
    std::memcpy(p.bytes.data() + at + d_at, &one, 2);
    if (type == TensorType::kQ4_1 || type == TensorType::kQ5_1 || type == TensorType::kQ4_K ||
        type == TensorType::kQ5_K) {
      std::memcpy(p.bytes.data() + at + 2, &one, 2);
    }
  }
  const Problem striped = Striped(p);
  const std::vector<float> expected = p.Run(Isa::kScalar, 1);
  for (Isa isa : RunnableIsas()) {
    for (const Problem* layout : {&std::as_const(p), &striped}) {
      EXPECT_TRUE(SameBits(layout->Run(isa, 1), expected))
          << IsaName(isa) << " " << InfoOf(type).name << " fill " << fill << " tokens " << n_token
          << " striped " << layout->w.striped;
    }
  }
}

// The largest integers that can arise must not wrap or saturate.
TEST(MatMul, ExtremeCodesGiveTheBitsOfScalar) {
  for (TensorType type : kAllTypes) {
    if (InfoOf(type).block_elements == 1) continue;
    for (int fill : {0x00, 0x7f, 0x80, 0xff}) {
      for (int64_t n_token : {1, 5}) ExpectExtremeCodesGiveTheBitsOfScalar(type, fill, n_token);
    }
  }
}

// Outputs of one loop, some with rows that fill no panel, some narrower than a task.
TEST(MatMul, OutputsTogetherGiveTheBitsOfEachAlone) {
  for (int64_t n_token : {1, 5, 300}) {
    const Problem q(TensorType::kQ4_0, 331, 256, n_token, 0, 3);
    const Problem k(TensorType::kQ8_0, 16, 256, n_token, 0, 3);
    const Problem v(TensorType::kQ5_1, 47, 256, n_token, 0, 3);
    const Problem* const all[] = {&q, &k, &v};
    ASSERT_EQ(q.x, k.x);  // one seed, one input
    ASSERT_EQ(q.x, v.x);
    for (int n_thread : {1, 2, 5}) {
      ThreadTeam team(n_thread);
      AlignedBytes prepared(PreparedBytes(q.w.type, n_token, 256));
      PrepareActivations(q.w.type, q.x.data(), 256, n_token, 256, prepared.data(), team);
      std::vector<std::vector<float>> y;
      std::vector<MatMulOutput> outputs;
      for (const Problem* p : all) {
        y.emplace_back(static_cast<size_t>(n_token * (p->w.rows + 3)), -7.0f);
        outputs.push_back({&p->w, y.back().data(), p->w.rows + 3});
      }
      MatMul(outputs, prepared.data(), n_token, team);
      for (size_t i = 0; i < 3; ++i) {
        EXPECT_TRUE(SameBits(y[i], all[i]->Run(DetectedIsa(), 1)))
            << "output " << i << ", " << n_token << " tokens, " << n_thread << " threads";
      }
    }
  }
}

TEST(MatMul, PreparationIsSharedWithinABlockSize) {
  EXPECT_TRUE(SamePreparation(TensorType::kQ8_0, TensorType::kQ4_1));
  EXPECT_TRUE(SamePreparation(TensorType::kQ4_K, TensorType::kQ6_K));
  EXPECT_TRUE(SamePreparation(TensorType::kF16, TensorType::kF32));
  EXPECT_FALSE(SamePreparation(TensorType::kQ8_0, TensorType::kQ4_K));
  EXPECT_FALSE(SamePreparation(TensorType::kQ8_0, TensorType::kF32));
}

}  // namespace
}  // namespace kvasir
