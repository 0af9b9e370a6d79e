#include "kvasir/policy/output_norms.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "kvasir/core/file_testing.h"
#include "kvasir/kernels/matmul.h"
#include "kvasir/model/forward.h"
#include "kvasir/model/gguf_model.h"
#include "kvasir/model/gguf_testing.h"
#include "kvasir/policy/policy_rig_testing.h"
#include "kvasir/policy/policy_testing.h"

namespace kvasir {
namespace {

TEST(OutputNorms, AreThoseOfTheDefinitionAtEveryLength) {
  for (const auto& [group, d] : {std::pair{1, 16}, {2, 80}, {4, 64}, {8, 256}}) {
    PolicyTarget target;
    target.shape = {2, 2 * group, 2, d, {0, 0}};
    GiveOutputs(target.shape, &target);
    for (const int n : {1, 15, 16, 17, 255, 257, 1023, 1025}) {
      if (n > 300 && d > 64) continue;
      ByteLedger ledger;
      SlabArena arena(ledger, ByteKind::kKv);
      SegmentList list({d, TileFormat::kF32, TileFormat::kF32}, arena);
      const std::vector<float> v = testing_policy::RandomRows(int64_t{n} * d, 5);
      std::vector<int32_t> pos(static_cast<size_t>(n));
      std::iota(pos.begin(), pos.end(), 0);
      ASSERT_TRUE(list.Append(pos, v.data(), v.data(), d).ok());
      std::vector<float> norms(static_cast<size_t>(n));
      ASSERT_TRUE(OutputNorms(target, 1, 1, list, norms).ok());
      for (int t = 0; t < n; t += n < 40 ? 1 : 31) {
        double length = 0;
        for (int g = 0; g < group; ++g) {
          for (int64_t row = 0; row < kTestEmbd; ++row) {
            double x = 0;
            for (int j = 0; j < d; ++j) {
              x += double{TestOutput(1, row, int64_t{group + g} * d + j)} * v[t * d + j];
            }
            length += std::abs(x) / group;
          }
        }
        EXPECT_TRUE(std::abs(norms[t] - length) <= 1e-5 * length) << t << " of " << n;
      }
    }
  }
}

// Products come to read weights in stripes; whoever asks gets rows.
TEST(OutputNorms, ReadTheRowsOfTheModel) {
  const TemporaryDirectory folder;
  for (const char* type : {"f32", "f16", "q8_0", "q6_k"}) {
    const TensorType tensor_type = FindTensorType(type)->type;
    const auto model = LoadGgufModel(
        folder.Write("model.gguf", testing_gguf::TinyModel("tiny-llama3", tensor_type)), {});
    ASSERT_TRUE(model.ok()) << model.status().ToString();
    ThreadTeam team(1);
    ByteLedger ledger;
    const auto pass = ForwardPass::Create(*model, 64, 16, team, ledger);
    ASSERT_TRUE(pass.ok());
    (*pass)->SettleWeights();
    for (int layer = 0; layer < (*model)->spec.n_layer; ++layer) {
      const Tensor& w = (*model)->weights.layers[layer].wo;
      ASSERT_EQ(w.rows, (*model)->spec.n_embd);
      std::vector<float> rows(static_cast<size_t>(w.rows * w.cols)), row(w.cols);
      (*pass)->OutputRows(layer, 0, 3, rows.data());
      (*pass)->OutputRows(layer, 3, w.rows - 3, rows.data() + 3 * w.cols);
      for (int64_t r = 0; r < w.rows; ++r) {
        DequantizeRow(w.type, w.data + static_cast<size_t>(r) * w.row_bytes, row.data(), w.cols);
        EXPECT_TRUE(std::equal(row.begin(), row.end(), rows.begin() + r * w.cols)) << type;
      }
    }
  }
}

}  // namespace
}  // namespace kvasir
