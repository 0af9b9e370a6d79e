// Every token scores as the mean of its chunk, so that keep=topk keeps whole chunks; the last one
// taken is cut to the budget.
#include <algorithm>

#include "kvasir/policy/scorer.h"

namespace kvasir {
namespace {

class ChunkMean final : public Shaper {
 public:
  explicit ChunkMean(const PartArgs& args) : size_(static_cast<size_t>(args.Int("size"))) {}
  void Shape(std::span<const float> in, std::span<float> out) const override {
    for (size_t begin = 0; begin < in.size(); begin += size_) {
      const size_t end = std::min(begin + size_, in.size());
      float sum = 0;
      for (size_t i = begin; i < end; ++i) sum += in[i];
      std::fill(out.begin() + begin, out.begin() + end, sum / static_cast<float>(end - begin));
    }
  }

 private:
  size_t size_;
};

}  // namespace

const PartInfo& shape_chunks_part() {
  static constexpr ParamInfo params[] = {
      {"size", ParamType::kInt, "10", 1, 4096, "tokens of a chunk"},
  };
  static constexpr PartInfo info = {.kind = PartKind::kShape,
                                    .name = "chunks",
                                    .summary = "mean of the token's chunk",
                                    .card = "ChunkKV, arXiv:2502.00299",
                                    .params = params,
                                    .cost = "none",
                                    .make = MakePart<ChunkMean>};
  return info;
}

}  // namespace kvasir
