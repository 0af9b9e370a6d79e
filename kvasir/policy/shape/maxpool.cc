// The best of a neighbourhood, so that neighbours of a wanted token stay with it.
#include <algorithm>

#include "kvasir/policy/scorer.h"

namespace kvasir {
namespace {

class MaxPool final : public Shaper {
 public:
  explicit MaxPool(const PartArgs& args) : reach_(args.Int("size") / 2) {}
  void Shape(std::span<const float> in, std::span<float> out) const override {
    const auto n = static_cast<int64_t>(in.size());
    for (int64_t t = 0; t < n; ++t) {
      const int64_t begin = std::max<int64_t>(0, t - reach_), end = std::min(n, t + reach_ + 1);
      out[t] = *std::max_element(in.begin() + begin, in.begin() + end);
    }
  }

 private:
  int64_t reach_;
};

}  // namespace

const PartInfo& shape_maxpool_part() {
  static constexpr ParamInfo params[] = {
      {"size", ParamType::kInt, "7", 1, 255,
       "tokens compared; even sizes count as the next odd one"},
  };
  static constexpr PartInfo info = {.kind = PartKind::kShape,
                                    .name = "maxpool",
                                    .summary = "the best of the neighbours",
                                    .card = "SnapKV, arXiv:2404.14469",
                                    .params = params,
                                    .cost = "size comparisons a token",
                                    .make = MakePart<MaxPool>};
  return info;
}

}  // namespace kvasir
