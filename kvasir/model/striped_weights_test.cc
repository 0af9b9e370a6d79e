#include "kvasir/model/striped_weights.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "kvasir/core/file_testing.h"
#include "kvasir/kernels/weight_stripes.h"
#include "kvasir/model/gguf_model.h"
#include "kvasir/model/gguf_testing.h"

namespace kvasir {
namespace {

TEST(StripedWeights, HoldEveryRowOfTheModel) {
  const TemporaryDirectory folder;
  for (const char* type : {"q8_0", "q6_k", "f16"}) {
    SCOPED_TRACE(type);
    const std::string path = folder.Write(
        "model.gguf", testing_gguf::TinyModel("tiny-llama3", FindTensorType(type)->type));
    const auto model = LoadGgufModel(path, {});
    ASSERT_TRUE(model.ok()) << model.status().ToString();
    ThreadTeam team(2);
    const auto striped = StripedWeights::Of(*model);
    ASSERT_TRUE(striped.ok());
    StripedWeights& to = **striped;
    EXPECT_EQ(StripedWeights::HeldBytes(), 0);
    to.MoveAll(team);
    EXPECT_TRUE(to.all_moved());
    const Weights& from = (*model)->weights;
    const auto expect_same = [](const Tensor& a, const Tensor& b) {
      EXPECT_EQ(b.striped, HasStripes(a.type) && a.rows >= kStripeRows);
      std::vector<std::byte> x(a.row_bytes), y(b.row_bytes);
      for (int64_t r = 0; r < a.rows; ++r) {
        CopyRow(a, r, x.data());  // read from the file again: its pages were let go
        CopyRow(b, r, y.data());
        ASSERT_EQ(x, y) << "row " << r;
      }
    };
    for (size_t i = 0; i < from.layers.size(); ++i) {
      const LayerWeights &a = from.layers[i], &b = to.layer(static_cast<int>(i));
      expect_same(a.wq, b.wq);
      expect_same(a.wv, b.wv);
      expect_same(a.w_down, b.w_down);
      EXPECT_EQ(a.ffn_norm, b.ffn_norm);
    }
    expect_same(from.output, to.output());
    EXPECT_EQ(StripedWeights::Of(*model)->get(), striped->get());
    EXPECT_EQ(StripedWeights::HeldBytes() > 0, to.output().striped);
  }
  EXPECT_EQ(StripedWeights::HeldBytes(), 0);
}

TEST(StripedWeights, MoveALayerAtATime) {
  const TemporaryDirectory folder;
  const std::string path =
      folder.Write("model.gguf", testing_gguf::TinyModel("tiny-llama3", TensorType::kQ8_0));
  const auto model = LoadGgufModel(path, {});
  ASSERT_TRUE(model.ok()) << model.status().ToString();
  ThreadTeam team(2);
  const auto weights = StripedWeights::Of(*model);
  ASSERT_TRUE(weights.ok());
  const int n_layer = (*model)->spec.n_layer;
  ASSERT_LT(n_layer, StripedWeights::kMoves);
  const auto moved = [&] {
    int n = (*weights)->output().striped ? 1 : 0;
    for (int i = 0; i < n_layer; ++i) n += (*weights)->layer(i).wq.striped ? 1 : 0;
    return n;
  };
  int64_t held = 0;
  for (int i = 0; i <= n_layer; ++i) {
    EXPECT_EQ(moved(), i);
    EXPECT_FALSE((*weights)->all_moved());
    (*weights)->MoveSome(team);
    EXPECT_GT(StripedWeights::HeldBytes(), held);
    held = StripedWeights::HeldBytes();
  }
  EXPECT_TRUE((*weights)->all_moved());
  (*weights)->MoveSome(team);
  EXPECT_EQ(StripedWeights::HeldBytes(), held);
}

}  // namespace
}  // namespace kvasir
