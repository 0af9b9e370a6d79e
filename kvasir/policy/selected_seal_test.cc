// Selectors beside codecs: what summaries bound is what attention reads.
#include <gtest/gtest.h>

#include <cmath>

#include "kvasir/policy/policy_testing.h"

namespace kvasir {
namespace {

// Checks the choice and the certificate of the next query of every pair against its decoded keys.
void ExpectCertain(PolicyWorld& world) {
  const CacheShape& shape = world.shape();
  const int group = shape.group(), d = shape.head_dim, token = world.cache().n_pos();
  AttendScratch scratch(d);
  for (int layer = 0; layer < shape.n_layer; ++layer) {
    for (int kv_head = 0; kv_head < shape.n_kv_head; ++kv_head) {
      const SegmentList& list = world.cache().list(layer, kv_head);
      const int64_t n = list.n_kv();
      std::vector<float> k(n * d), v(k.size()), q(group * d);
      ASSERT_TRUE(list.Decode(0, n, k.data(), v.data()).ok());
      const float* raw =
          &world.layers()[layer].q[(size_t(token) * shape.n_head + kv_head * group) * d];
      for (size_t i = 0; i < q.size(); ++i) q[i] = raw[i] * 0.6f;
      const std::vector<int32_t> pos(group, token);
      const QueryRows rows = {.q = q.data(),
                              .pos = pos.data(),
                              .n_row = group,
                              .head_dim = d,
                              .pos_min = token,
                              .pos_max = token};
      std::vector<IndexRange> ranges;
      Selector& selector = *world.cache().selector();
      const auto chosen = selector.Select(layer, kv_head, rows, list, &ranges);
      ASSERT_TRUE(chosen.ok()) << chosen.status().ToString();
      ASSERT_TRUE(*chosen);
      std::vector<float> memory(StateFloats(group, PaddedDim(d)));
      const StateView states = MakeStateView(memory.data(), group, PaddedDim(d));
      ResetStates(states);
      std::vector<bool> attended(n);
      ASSERT_TRUE(list.AttendRanges(rows, ranges, scratch, states).ok());
      for (const IndexRange& range : ranges) {
        std::fill(attended.begin() + range.begin, attended.begin() + range.end, true);
      }
      const std::vector<float> share = selector.Certify(layer, kv_head, rows, states);
      for (int r = 0; r < static_cast<int>(share.size()); ++r) {
        double mass = 0, total = 0;
        for (int64_t t = 0; t < n; ++t) {
          double x = 0;
          for (int c = 0; c < d; ++c) x += double{q[r * d + c]} * k[t * d + c];
          total += std::exp2(x);
          if (attended[t]) mass += std::exp2(x);
        }
        EXPECT_LE(share[r], mass / total + 1e-6) << "row " << r;
      }
    }
  }
}

TEST(SelectedSeal, SummariesFollowTheCodesThatReplaceKeys) {
  CacheShape shape;
  shape.n_layer = 2;
  shape.n_head = 4;
  shape.n_kv_head = 2;
  shape.head_dim = 32;
  const auto layers = RandomLayers(shape, 700, 3);
  for (const char* codec : {"codec=q4_0", "int4h", "codec=kivi(2,tail=32)", "k=kivi(2) v=q8_0",
                            "k=q8_0 v=kivi(4)", "codec=fp8"}) {
    for (const char* select : {"quest(pages=4,dense=0)", "twolevel(tokens=64)"}) {
      const std::string recipe = std::string(codec) + " select=" + select;
      SCOPED_TRACE(recipe);
      PolicyWorld world(shape, recipe, layers);
      ASSERT_TRUE(world.Prefill(500, 170).ok());
      ExpectCertain(world);
      for (int i = 0; i < 12; ++i) {
        ASSERT_TRUE(world.Decode(13).ok());
        ExpectCertain(world);
      }
    }
  }
}

// A long answer does not leave a segment for every block of it behind.
TEST(SelectedSeal, WhatIsSealedJoinsBesideASelector) {
  CacheShape shape;
  shape.n_layer = 1;
  shape.n_head = 2;
  shape.n_kv_head = 1;
  shape.head_dim = 32;
  PolicyWorld world(shape, "q8_0 select=twolevel(tokens=64)", RandomLayers(shape, 700, 3));
  ASSERT_TRUE(world.Prefill(100, 100).ok());
  ASSERT_TRUE(world.Decode(590).ok());
  const SegmentList& list = world.cache().list(0, 0);
  EXPECT_EQ(list.n_kv(), 690);
  EXPECT_LT(list.tail().n_kv(), 16);
  EXPECT_LT(list.sealed().size(), 10u);
  ExpectCertain(world);
}

}  // namespace
}  // namespace kvasir
