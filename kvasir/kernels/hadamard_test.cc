#include "kvasir/kernels/hadamard.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

namespace kvasir {
namespace {

constexpr int kSizes[] = {1, 2, 8, 16, 24, 32, 48, 64, 80, 96, 112, 128, 160, 256, 512};

std::vector<float> Random(int n) {
  std::mt19937 rng(n);
  std::normal_distribution<float> normal;
  std::vector<float> x(n);
  for (float& v : x) v = normal(rng);
  return x;
}

TEST(Hadamard, RowsFollowTheMatrix) {
  for (int n : kSizes) {
    const int block = HadamardBlock(n);
    const std::vector<float> x = Random(n);
    std::vector<float> expected;
    for (Isa isa : RunnableIsas()) {
      std::vector<float> got = x;
      GetHadamardKernels(isa).row(got.data(), n, block);
      if (isa == Isa::kScalar) expected = got;
      EXPECT_EQ(std::memcmp(got.data(), expected.data(), n * sizeof(float)), 0)
          << IsaName(isa) << " " << n;
    }
    for (int i = 0; i < n; ++i) {
      double sum = 0;
      for (int j = 0; j < block; ++j) {
        const int sign = std::popcount(static_cast<unsigned>(i % block & j)) % 2;
        sum += (sign != 0 ? -1 : 1) * double{x[i / block * block + j]};
      }
      EXPECT_NEAR(expected[i], sum / std::sqrt(block), 1e-5) << n << " element " << i;
    }
  }
}

TEST(Hadamard, LanesAreSixteenRows) {
  for (int n : kSizes) {
    const std::vector<float> x = Random(n * 16);
    for (Isa isa : RunnableIsas()) {
      std::vector<float> got = x;
      GetHadamardKernels(isa).lanes(got.data(), n, HadamardBlock(n));
      for (int lane = 0; lane < 16; ++lane) {
        std::vector<float> row(n);
        for (int j = 0; j < n; ++j) row[j] = x[j * 16 + lane];
        GetHadamardKernels(isa).row(row.data(), n, HadamardBlock(n));
        for (int j = 0; j < n; ++j) EXPECT_EQ(got[j * 16 + lane], row[j]) << IsaName(isa);
      }
    }
  }
}

}  // namespace
}  // namespace kvasir
