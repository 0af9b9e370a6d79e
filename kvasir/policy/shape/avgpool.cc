// Mean over a neighbourhood. At the ends it is over the tokens that are there: zero padding would
// lower the first tokens, which are the sinks.
#include <algorithm>

#include "kvasir/policy/scorer.h"

namespace kvasir {
namespace {

class AveragePool final : public Shaper {
 public:
  explicit AveragePool(const PartArgs& args) : reach_(args.Int("size") / 2) {}
  void Shape(std::span<const float> in, std::span<float> out) const override {
    const auto n = static_cast<int64_t>(in.size());
    for (int64_t t = 0; t < n; ++t) {
      const int64_t begin = std::max<int64_t>(0, t - reach_), end = std::min(n, t + reach_ + 1);
      float sum = 0;
      for (int64_t i = begin; i < end; ++i) sum += in[i];
      out[t] = sum / static_cast<float>(end - begin);
    }
  }

 private:
  int64_t reach_;
};

}  // namespace

const PartInfo& shape_avgpool_part() {
  static constexpr ParamInfo params[] = {
      {"size", ParamType::kInt, "5", 1, 255,
       "tokens averaged; even sizes count as the next odd one"},
  };
  static constexpr PartInfo info = {.kind = PartKind::kShape,
                                    .name = "avgpool",
                                    .summary = "mean over neighbours",
                                    .card = "SnapKV, arXiv:2404.14469",
                                    .params = params,
                                    .cost = "size adds a token",
                                    .make = MakePart<AveragePool>};
  return info;
}

}  // namespace kvasir
