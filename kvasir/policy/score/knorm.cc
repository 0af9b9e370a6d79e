// Keys of small norm attract attention: score = -|k|.
#include <algorithm>
#include <cmath>

#include "kvasir/policy/scorer.h"

namespace kvasir {
namespace {

constexpr int64_t kBlock = 256;  // tokens rebuilt at a time

class KeyNorm final : public Scorer {
 public:
  bool is_static() const override { return true; }
  Status Score(const ScoreContext& context, int kv_head, AttendScratch&,
               HeadScores* scores) const override {
    const SegmentList& list = context.list(kv_head);
    const int d = context.shape().head_dim;
    std::vector<float> k(static_cast<size_t>(kBlock) * d), v(k.size());
    for (int64_t begin = 0; begin < scores->n; begin += kBlock) {
      const int64_t end = std::min(begin + kBlock, scores->n);
      KVASIR_RETURN_IF_ERROR(list.Decode(begin, end, k.data(), v.data()));
      for (int64_t t = begin; t < end; ++t) {
        const float* key = &k[static_cast<size_t>(t - begin) * d];
        float sum = 0;
        for (int j = 0; j < d; ++j) sum += key[j] * key[j];
        scores->at[t] = -std::sqrt(sum);
      }
    }
    return Status::Ok();
  }
};

}  // namespace

const PartInfo& score_knorm_part() {
  static constexpr PartInfo info = {.kind = PartKind::kScore,
                                    .name = "knorm",
                                    .summary = "the smaller the key the better",
                                    .card = "L2 norm, arXiv:2406.11430",
                                    .params = {},
                                    .needs = kNeedKeys,
                                    .cost = "d multiply-adds a token and kv head",
                                    .make = MakePart<KeyNorm>};
  return info;
}

}  // namespace kvasir
