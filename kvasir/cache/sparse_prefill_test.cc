// How a mask's choice is read, whatever the mask.
#include "kvasir/cache/sparse_prefill.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "kvasir/cache/prefill_world_testing.h"
#include "kvasir/core/isa.h"

namespace kvasir {
namespace {

// Reads units by a hash of where they are: `share` of 8.
class HashMask final : public PrefillMask {
 public:
  HashMask(int unit_tokens, uint32_t share) : unit_tokens_(unit_tokens), share_(share) {}
  int unit_tokens() const override { return unit_tokens_; }
  int64_t RoomBytes(const PrefillSize&) const override { return 0; }
  Status Choose(const PrefillQueries& queries, const SegmentList&, AttendScratch&, PrefillRoom,
                std::span<uint8_t> chosen) const override {
    const size_t n_unit = chosen.size() / static_cast<size_t>(queries.n_head);
    for (size_t i = 0; i < chosen.size(); ++i) {
      const auto bits =
          static_cast<uint32_t>(queries.Row(0, static_cast<int>(i / n_unit))[0] * 999);
      const auto unit = static_cast<uint32_t>(i % n_unit);
      chosen[i] = (bits + unit * 2654435761u) % 1000 % 8 < share_;
    }
    return Status::Ok();
  }

 private:
  int unit_tokens_;
  uint32_t share_;
};

CacheShape Shape(int group, int head_dim) { return {1, 2 * group, 2, head_dim, {0}}; }

TEST(SparsePrefill, ReadsWhatTheMaskChoosesAndNothingElse) {
  uint32_t seed = 1;
  for (const auto& [group, d] : {std::pair{1, 64}, {2, 16}, {4, 128}, {8, 32}, {3, 80}}) {
    for (int unit : {128, 16}) {
      for (float softcap : {0.0f, 20.0f}) {
        PrefillWorld world(Shape(group, d), 450, ++seed);
        world.softcap = softcap;
        const std::vector<float> out = world.Read(std::make_shared<HashMask>(unit, 3), 256);
        const std::vector<double> expected = world.Define(world.marks(), unit);
        EXPECT_GT(world.reads().share(), 0.1);
        EXPECT_LT(world.reads().share(), 0.7);
        for (size_t i = 0; i < out.size(); ++i) {
          ASSERT_TRUE(std::abs(out[i] - expected[i]) <= 2e-5)
              << "group " << group << " head_dim " << d << " unit " << unit << " at " << i << ": "
              << out[i] << " for " << expected[i];
        }
      }
    }
  }
}

TEST(SparsePrefill, AChoiceOfEverythingChangesNoBit) {
  for (int group : {1, 4}) {
    PrefillWorld world(Shape(group, 64), 1300, 7);
    const std::vector<float> exact = world.Read(nullptr, 512);
    EXPECT_EQ(world.Read(std::make_shared<HashMask>(128, 8), 512), exact);
    EXPECT_EQ(world.reads().share(), 1.0);
    EXPECT_GT(world.reads().held, 0);
  }
}

TEST(SparsePrefill, ShortPromptsAreReadWhole) {
  PrefillWorld world(Shape(2, 64), 128, 9);
  const std::vector<float> exact = world.Read(nullptr, 128);
  EXPECT_EQ(world.Read(std::make_shared<HashMask>(128, 0), 128), exact);
  EXPECT_EQ(world.reads().held, 0);
  EXPECT_EQ(world.reads().share(), 1.0);
}

TEST(SparsePrefill, ChunksAtMultiplesOfABlockThreadsAndIsasChangeNoBit) {
  const Isa isa = ActiveIsa();
  for (int group : {1, 4}) {
    // The last block has a single token.
    PrefillWorld world(Shape(group, 64), 1025, 11);
    for (int unit : {128, 16}) {
      const auto mask = std::make_shared<HashMask>(unit, 2);
      const std::vector<float> expected = world.Read(mask, 1025, 1);
      for (int chunk : {128, 256, 512, 1024}) {
        for (int n_thread : {1, 2, 5}) {
          ASSERT_EQ(world.Read(mask, chunk, n_thread), expected) << chunk << " " << n_thread;
        }
      }
      for (Isa other : RunnableIsas()) {
        ForceIsa(other);
        ASSERT_EQ(world.Read(mask, 512), expected) << IsaName(other);
      }
      ForceIsa(isa);
    }
  }
}

TEST(SparsePrefill, NormsAreThoseOfEverythingThatIsHeld) {
  PrefillWorld world(Shape(4, 64), 700, 13);
  std::vector<RowNorm> exact, got;
  world.norms = &exact;
  world.Read(nullptr, 256);
  world.norms = &got;
  world.n_norm = 40;
  world.Read(std::make_shared<HashMask>(128, 2), 256);
  int n_wanted = 0;
  for (int token = 0; token < 700; ++token) {
    const int chunk_end = std::min(700, (token / 256 + 1) * 256);
    if (token < chunk_end - 40) continue;
    ++n_wanted;
    for (int h = 0; h < 8; ++h) {
      const size_t i = static_cast<size_t>(token * 8 + h);
      ASSERT_EQ(got[i].exponent, exact[i].exponent) << token;
      ASSERT_EQ(got[i].inv_sum, exact[i].inv_sum) << token;
    }
  }
  EXPECT_EQ(n_wanted, 120);
}

TEST(SparsePrefill, WindowedHeadsReadTheirWindow) {
  const CacheShape shape = Shape(2, 64);
  const PrefillWorld data(shape, 600, 15);
  ByteLedger ledger;
  SlabArena arena(ledger, ByteKind::kKv);
  ThreadTeam team(2);
  auto workspace = *AttendWorkspace::Create(shape, 2, ledger);
  std::vector<int32_t> pos(600);
  std::iota(pos.begin(), pos.end(), 0);
  std::vector<std::vector<float>> out;
  std::vector<float> kv(600 * 2 * 64);
  for (size_t i = 0; i < kv.size(); ++i) kv[i] = std::sin(static_cast<float>(i));
  for (bool sparse : {false, true}) {
    SequenceCache cache(shape, TileFormat::kF16, TileFormat::kF16, arena);
    cache.set_head_window(0, 1, {.sinks = 4, .recent = 100});
    if (sparse) cache.set_prefill_mask(std::make_shared<HashMask>(128, 0));
    ASSERT_TRUE(cache.Append(0, pos, kv.data(), kv.data(), team).ok());
    LayerQueries queries;
    queries.q = data.q(0, 0);
    queries.pos = pos;
    queries.scale = 0.125f;
    out.emplace_back(600 * 4 * 64);
    ASSERT_TRUE(cache.Attend(0, queries, team, *workspace, out.back().data()).ok());
  }
  for (size_t i = 0; i < out[0].size(); ++i) {
    const bool windowed = i / 64 % 4 >= 2;
    if (windowed) {
      ASSERT_EQ(out[1][i], out[0][i]) << i;
    }
  }
  EXPECT_NE(out[0], out[1]);
}

TEST(SparsePrefill, ChargesItsScratchAndStopsAtTheLimit) {
  PrefillWorld world(Shape(2, 64), 600, 17);
  world.Read(std::make_shared<HashMask>(16, 3), 256);
  // The marks of a group's heads, in whole lines.
  const int64_t marks = (2 * 600 / 16 + 63) / 64 * 64;
  EXPECT_EQ(world.scratch_bytes(), 2 * (AttendScratch::Bytes(64) + marks));

  ByteLedger ledger(AttendScratch::Bytes(64) + 1000);
  auto workspace = *AttendWorkspace::Create(Shape(2, 64), 1, ledger);
  EXPECT_TRUE(workspace->ReservePrefill(512).ok());
  EXPECT_TRUE(workspace->ReservePrefill(100).ok());
  const int64_t held = ledger.held(ByteKind::kScratch);
  EXPECT_EQ(held, AttendScratch::Bytes(64) + 512);
  EXPECT_EQ(workspace->ReservePrefill(1001).code(), StatusCode::kOutOfMemory);
  EXPECT_EQ(ledger.held(ByteKind::kScratch), AttendScratch::Bytes(64));
}

}  // namespace
}  // namespace kvasir
