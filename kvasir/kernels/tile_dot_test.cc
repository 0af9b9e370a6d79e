#include "kvasir/kernels/tile_dot.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "kvasir/kernels/half.h"

namespace kvasir {
namespace {

// Rows and tiles, f16 and the same numbers as f32, from misaligned starts.
struct Case {
  Case(int d, int n_row, int n_tile, bool whole, uint32_t seed) : d(d), n_row(n_row) {
    std::mt19937 rng(seed);
    std::normal_distribution<float> normal;
    std::uniform_int_distribution<int> small(-4, 4);
    const auto draw = [&] { return whole ? static_cast<float>(small(rng)) : normal(rng); };
    rows.resize(static_cast<size_t>(n_row) * d * 16 + 1);
    for (float& x : rows) x = draw();
    k16.resize(static_cast<size_t>(n_tile) * d * 16 + 1);
    for (uint16_t& x : k16) x = FloatToHalf(draw());
    for (uint16_t x : k16) k32.push_back(HalfToFloat(x));
    for (int i = 0; i < n_tile; ++i) {
      const size_t at = static_cast<size_t>(i) * d * 16 + 1;
      tiles16.push_back(&k16[at]);
      tiles32.push_back(&k32[at]);
    }
  }

  std::vector<float> Run(Isa isa, bool half) const {
    const int n_tile = static_cast<int>(tiles16.size()), stride = 2 * n_tile + 3;
    std::vector<float> out(static_cast<size_t>(n_row * stride), -1.0f);
    const TileDotKernels& kernels = GetTileDotKernels(isa);
    const auto dot = half ? kernels.dot_f16 : kernels.dot_f32;
    dot(rows.data() + 1, n_row, d, half ? tiles16.data() : tiles32.data(), n_tile, out.data(),
        stride);
    return out;
  }

  int d, n_row;
  std::vector<float> rows, k32;
  std::vector<uint16_t> k16;
  std::vector<const void*> tiles16, tiles32;
};

TEST(TileDot, EveryVariantGivesTheBitsOfTheScalarOne) {
  for (int d : {1, 3, 8, 16, 64, 80, 128}) {
    for (int n_row : {1, 2, 3, 5, 6, 7, 8, 13, 32}) {
      for (int n_tile : {1, 2, 3, 4, 5, 8}) {
        const auto seed = static_cast<uint32_t>(d * 1000 + n_row * 10 + n_tile);
        const Case c(d, n_row, n_tile, false, seed);
        const std::vector<float> expected = c.Run(Isa::kScalar, false);
        for (Isa isa : RunnableIsas()) {
          for (bool half : {false, true}) {
            ASSERT_EQ(c.Run(isa, half), expected)
                << IsaName(isa) << " head_dim " << d << " rows " << n_row << " tiles " << n_tile
                << (half ? " f16" : " f32") << " seed " << seed;
          }
        }
      }
    }
  }
}

TEST(TileDot, SumsEachHalfOfEveryTile) {
  for (bool whole : {true, false}) {
    const Case c(64, 7, 5, whole, 3);
    const int stride = 2 * 5 + 3;
    for (Isa isa : RunnableIsas()) {
      const std::vector<float> got = c.Run(isa, true);
      for (int r = 0; r < 7; ++r) {
        for (int i = 0; i < 5; ++i) {
          for (int h = 0; h < 2; ++h) {
            double sum = 0, magnitude = 0;
            for (int j = 0; j < 64; ++j) {
              for (int t = 8 * h; t < 8 * h + 8; ++t) {
                const double product =
                    double{c.rows[1 + (r * 64 + j) * 16 + t]} * c.k32[1 + (i * 64 + j) * 16 + t];
                sum += product;
                magnitude += std::abs(product);
              }
            }
            const double error = std::abs(got[r * stride + 2 * i + h] - sum);
            // Small whole numbers add up exactly; else a rounding a link of the chain.
            ASSERT_TRUE(error <= (whole ? 0 : magnitude * 70 * 0x1p-24))
                << IsaName(isa) << " row " << r << " tile " << i << " half " << h << ": "
                << got[r * stride + 2 * i + h] << " for " << sum;
          }
        }
      }
      // Nothing beyond is written.
      for (int r = 0; r < 7; ++r) EXPECT_EQ(got[r * stride + 10], -1.0f);
    }
  }
}

}  // namespace
}  // namespace kvasir
