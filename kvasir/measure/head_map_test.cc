#include "kvasir/measure/head_map.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kvasir/measure/text_table.h"
#include "kvasir/policy/policy_rig_testing.h"

namespace kvasir {
namespace {

using testing_policy::PolicyRig;

// Queries and keys as the forward pass hands them out, to compute attention from the definition.
class KeepQueries final : public LayerObserver {
 public:
  explicit KeepQueries(const CacheShape& shape) : q(static_cast<size_t>(shape.n_layer)) {}
  bool WantsNorms(int) const override { return false; }
  Status AfterAttend(int layer, const LayerQueries& queries, SequenceCache& cache) override {
    const CacheShape& s = cache.shape();
    scale = queries.scale;
    q[layer].assign(queries.q,
                    queries.q + queries.pos.size() * static_cast<size_t>(s.n_head) * s.head_dim);
    return Status::Ok();
  }
  std::vector<std::vector<float>> q;  // by layer
  float scale = 1;
};

TEST(HeadMap, SharesAreThoseOfTheDefinition) {
  constexpr int kToken = 90, kSink = 3, kLocal = 20, kQuery = 5;
  PolicyRig rig;
  const std::vector<TokenId> tokens = PolicyRig::Tokens(kToken);
  ThreadTeam team(2);
  auto runtime = Runtime::Create(rig.model, {.n_ctx = 512, .n_ubatch = 128}, team);
  ASSERT_TRUE(runtime.ok()) << runtime.status().ToString();
  const auto map =
      MeasureHeads(**runtime, tokens,
                   {.n_sink = kSink, .n_local = kLocal, .n_query = kQuery, .probe_period = 32});
  ASSERT_TRUE(map.ok()) << map.status().ToString();
  EXPECT_EQ(map->n_query, kQuery);

  const CacheShape& s = rig.shape();
  SequenceCache cache(s, TileFormat::kF16, TileFormat::kF16, rig.arena);
  KeepQueries observer(s);
  ASSERT_TRUE(rig.forward->Run(tokens, cache, LogitsWanted::kNone, {}, &observer).ok());
  std::vector<float> k(static_cast<size_t>(kToken) * s.head_dim), v(k.size());
  for (int layer = 0; layer < s.n_layer; ++layer) {
    for (int head = 0; head < s.n_head; ++head) {
      ASSERT_TRUE(cache.list(layer, head / s.group()).Decode(0, kToken, k.data(), v.data()).ok());
      double sink = 0, local = 0, far = 0;
      for (int p = kToken - kQuery; p < kToken; ++p) {
        const float* q =
            &observer.q[layer][(static_cast<size_t>(p) * s.n_head + head) * s.head_dim];
        std::vector<double> weight(static_cast<size_t>(p) + 1);
        double sum = 0;
        for (int t = 0; t <= p; ++t) {
          double dot = 0;
          for (int j = 0; j < s.head_dim; ++j) dot += double{q[j]} * k[t * s.head_dim + j];
          sum += weight[t] = std::exp(dot * observer.scale);
        }
        for (int t = 0; t <= p; ++t) {
          (t < kSink ? sink : p - t < kLocal ? local : far) += weight[t] / sum / kQuery;
        }
      }
      const size_t i = static_cast<size_t>(layer) * s.n_head + head;
      EXPECT_NEAR(map->sink[i], sink, 1e-4);
      EXPECT_NEAR(map->local[i], local, 1e-4);
      EXPECT_NEAR(map->far[i], far, 1e-4);
      EXPECT_NEAR(map->sink[i] + map->local[i] + map->far[i], 1, 1e-4);
    }
  }
}

TEST(HeadMap, AsTextNamesWhatGetsMostAndWhatFinds) {
  HeadMap map;
  map.n_layer = 2;
  map.n_head = 2;
  map.sink = {0.9f, 0.1f, 0.3f, 0};
  map.local = {0.1f, 0.8f, 0.4f, 0.2f};
  map.far = {0, 0.1f, 0.3f, 0.8f};
  map.induction = {0, 0, 0, 0.4f};
  map.echo = {0, 0, 0.2f, 0};
  EXPECT_EQ(HeadMapText(map), "layer   0  S  L\nlayer   1  -* F*\n");
}

TEST(AlignColumns, CountsCharactersAndDropsTrailingSpace) {
  EXPECT_EQ(AlignColumns({{"a", "b", "c"}, {"né", "10", ""}}, 1), "a    b  c\nné  10\n");
}

TEST(ShowNumber, KeepsSignificantDigits) {
  EXPECT_EQ(ShowNumber(0), "0");
  EXPECT_EQ(ShowNumber(0.012345), "0.0123");
  EXPECT_EQ(ShowNumber(1.2345e-5), "1.23e-05");
}

}  // namespace
}  // namespace kvasir
