#include "kvasir/model/forward.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "kvasir/core/file_testing.h"
#include "kvasir/model/gguf_model.h"
#include "kvasir/model/gguf_testing.h"

namespace kvasir {
namespace {

constexpr int32_t kContext = 64;
constexpr int kSteps = 2 * StripedWeights::kMoves;

// A sequence of its own on weights that may be shared.
class Stream {
 public:
  Stream(std::shared_ptr<const Model> model, int n_thread)
      : model_(std::move(model)),
        team_(n_thread),
        cache_(CacheShapeOf(model_->spec), TileFormat::kF16, TileFormat::kF16, arena_) {
    NewPass();
  }
  // The first chunk of a pass moves no weights.
  void NewPass() {
    auto pass = ForwardPass::Create(model_, kContext, 16, team_, ledger_);
    ASSERT_TRUE(pass.ok()) << pass.status().ToString();
    pass_ = std::move(*pass);
  }
  ForwardPass& pass() { return *pass_; }

  // Logits behind `n` more tokens.
  std::vector<float> Run(int32_t n) {
    std::vector<TokenId> tokens;
    for (int32_t i = 0; i < n; ++i) {
      tokens.push_back((cache_.n_pos() + i) * 37 % model_->spec.n_vocab);
    }
    std::vector<float> last;
    const Status status =
        pass_->Run(tokens, cache_, LogitsWanted::kLast, [&](int64_t, int64_t, const float* logits) {
          last.assign(logits, logits + model_->spec.n_vocab);
          return Status::Ok();
        });
    EXPECT_TRUE(status.ok()) << status.ToString();
    return last;
  }

 private:
  std::shared_ptr<const Model> model_;
  ThreadTeam team_;
  ByteLedger ledger_;
  SlabArena arena_{ledger_, ByteKind::kKv};
  SequenceCache cache_;
  std::unique_ptr<ForwardPass> pass_;
};

class ForwardOnMovingWeights : public testing::TestWithParam<const char*> {
 protected:
  // Every call loads the file anew, so that no two models share their weights.
  std::shared_ptr<const Model> Load() {
    auto model = LoadGgufModel(path_, {});
    EXPECT_TRUE(model.ok()) << model.status().ToString();
    return *model;
  }
  bool AllMoved(const std::shared_ptr<const Model>& model) const {
    return (*StripedWeights::Of(model))->all_moved();
  }

 private:
  TemporaryDirectory folder_;
  const std::string path_ = folder_.Write(
      "model.gguf", testing_gguf::TinyModel("tiny-llama3", FindTensorType(GetParam())->type));
};

TEST_P(ForwardOnMovingWeights, GivesTheBitsOfRowsAtEveryStep) {
  const auto in_rows = Load(), in_stripes = Load(), moving = Load();
  Stream rows(in_rows, 1), stripes(in_stripes, 2), steps(moving, 3);
  stripes.pass().SettleWeights();
  ASSERT_TRUE(AllMoved(in_stripes));
  for (int i = 0; i < kSteps; ++i) {
    SCOPED_TRACE(i);
    if (i <= 1) {  // the first chunk moves nothing
      EXPECT_FALSE(AllMoved(moving));
    }
    rows.NewPass();
    const int32_t n = i == 0 ? 11 : 1;
    const std::vector<float> expected = rows.Run(n);
    ASSERT_EQ(stripes.Run(n), expected);
    ASSERT_EQ(steps.Run(n), expected);
  }
  EXPECT_FALSE(AllMoved(in_rows));
  EXPECT_TRUE(AllMoved(moving));
}

TEST_P(ForwardOnMovingWeights, GivesThemWhileAnotherPassMovesThem) {
  const auto model = Load();
  std::vector<std::vector<float>> expected;
  {
    Stream alone(Load(), 1);
    for (int i = 0; i < kSteps; ++i) expected.push_back(alone.Run(1));
  }
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 3; ++thread) {
    threads.emplace_back([&, thread] {
      Stream stream(model, 1 + thread % 2);
      for (int i = 0; i < kSteps; ++i) EXPECT_EQ(stream.Run(1), expected[i]) << "step " << i;
      if (thread == 0) stream.pass().SettleWeights();
    });
  }
  for (std::thread& thread : threads) thread.join();
}

INSTANTIATE_TEST_SUITE_P(Types, ForwardOnMovingWeights,
                         testing::Values("q8_0", "q4_0", "q4_k", "q6_k"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace kvasir
