#include "kvasir/kernels/page_score.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace kvasir {
namespace {

struct Tiles {
  Tiles(int head_dim, int n_tile, bool extreme, uint32_t seed) : n_quad(ScoreQuads(head_dim)) {
    std::mt19937 rng(seed);
    std::uniform_int_distribution<int> any(-127, 127);
    bytes.resize(static_cast<size_t>(n_tile * ScoreTileBytes(n_quad) + 1));
    for (int8_t& b : bytes)
      b = static_cast<int8_t>(extreme ? (any(rng) < 0 ? -128 : 127) : any(rng));
    // A misaligned start.
    for (int i = 0; i < n_tile; ++i) at.push_back(bytes.data() + 1 + i * ScoreTileBytes(n_quad));
  }
  int n_quad;
  std::vector<int8_t> bytes;
  std::vector<const int8_t*> at;
};

std::vector<uint8_t> Query(int n_row, int n_quad, bool extreme, uint32_t seed) {
  std::mt19937 rng(seed);
  std::uniform_int_distribution<int> any(0, 255);
  std::vector<uint8_t> q(static_cast<size_t>(n_row * ScoreQueryBytes(n_quad)));
  for (uint8_t& b : q) b = static_cast<uint8_t>(extreme ? 255 : any(rng));
  return q;
}

TEST(PageScore, EveryVariantGivesTheScalarNumbers) {
  for (int head_dim : {1, 4, 7, 16, 24, 64, 80, 128, 256}) {
    for (int n_row : {1, 2, 3, 4, 5, 8, 13}) {
      for (int n_tile : {1, 2, 5}) {
        for (bool extreme : {false, true}) {
          const uint32_t seed = static_cast<uint32_t>(head_dim * 100 + n_row * 10 + n_tile);
          const Tiles tiles(head_dim, n_tile, extreme, seed);
          const auto q = Query(n_row, tiles.n_quad, extreme, seed + 1);
          const int stride = 16 * n_tile + 3;
          std::vector<int32_t> expected(static_cast<size_t>(n_row * stride), -1), got = expected;
          GetPageScoreKernels(Isa::kScalar)
              .score(q.data(), n_row, tiles.n_quad, tiles.at.data(), n_tile, expected.data(),
                     stride);
          for (Isa isa : RunnableIsas()) {
            GetPageScoreKernels(isa).score(q.data(), n_row, tiles.n_quad, tiles.at.data(), n_tile,
                                           got.data(), stride);
            ASSERT_EQ(got, expected) << IsaName(isa) << " head_dim " << head_dim << " rows "
                                     << n_row << " tiles " << n_tile << " seed " << seed;
          }
        }
      }
    }
  }
}

TEST(PageScore, IsTheLargestProductAPageCanHold) {
  constexpr int kDim = 16, kQuads = 4;
  std::mt19937 rng(5);
  std::uniform_int_distribution<int> any(-100, 100);
  int query[kDim];
  std::vector<uint8_t> q(ScoreQueryBytes(kQuads));
  for (int c = 0; c < kDim; ++c) {
    query[c] = any(rng);
    q[static_cast<size_t>(c / 4 * 8 + c % 4)] = static_cast<uint8_t>(std::max(query[c], 0));
    q[static_cast<size_t>(c / 4 * 8 + 4 + c % 4)] = static_cast<uint8_t>(std::max(-query[c], 0));
  }
  std::vector<int8_t> tile(ScoreTileBytes(kQuads));
  int64_t expected[16] = {};
  for (int page = 0; page < 16; ++page) {
    for (int c = 0; c < kDim; ++c) {
      const int a = any(rng), b = any(rng);
      tile[static_cast<size_t>(c / 4 * 128 + page * 4 + c % 4)] =
          static_cast<int8_t>(std::max(a, b));
      tile[static_cast<size_t>(c / 4 * 128 + 64 + page * 4 + c % 4)] =
          static_cast<int8_t>(std::min(a, b));
      expected[page] += std::max(query[c] * a, query[c] * b);
    }
  }
  int32_t scores[16];
  const int8_t* tiles[] = {tile.data()};
  ActivePageScoreKernels().score(q.data(), 1, kQuads, tiles, 1, scores, 16);
  for (int page = 0; page < 16; ++page) EXPECT_EQ(scores[page], expected[page]);
}

}  // namespace
}  // namespace kvasir
