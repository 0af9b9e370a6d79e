// When bytes run out, the third with the largest keys goes; first and newest tokens stay.
#include <algorithm>
#include <numeric>

#include "kvasir/policy/overflow.h"

namespace kvasir {
namespace {

constexpr int64_t kBlock = 256;  // tokens rebuilt at a time

class Evict final : public OverflowRule {
 public:
  explicit Evict(const PartArgs& args) : sinks_(args.Int("sinks")), recent_(args.Int("recent")) {}

  Status Choose(const SegmentList& list, std::vector<int32_t>* kept) const override {
    const int64_t n = list.n_kv(), n_keep = AfterMakingRoom(n);
    const int64_t sinks = std::min(sinks_, n_keep);
    const int64_t recent = std::min(recent_, n_keep - sinks);
    std::vector<float> norm(static_cast<size_t>(n));
    KVASIR_RETURN_IF_ERROR(Norms(list, norm));
    // Of the tokens between, those with the smallest keys stay: they attract attention.
    std::vector<int32_t> between(static_cast<size_t>(n - sinks - recent));
    std::iota(between.begin(), between.end(), static_cast<int32_t>(sinks));
    const auto split = between.begin() + (n_keep - sinks - recent);
    std::nth_element(between.begin(), split, between.end(), [&](int32_t a, int32_t b) {
      return norm[a] < norm[b] || (norm[a] == norm[b] && a < b);
    });
    kept->resize(static_cast<size_t>(sinks));
    std::iota(kept->begin(), kept->end(), 0);
    kept->insert(kept->end(), between.begin(), split);
    for (int64_t i = n - recent; i < n; ++i) kept->push_back(static_cast<int32_t>(i));
    std::sort(kept->begin(), kept->end());
    return Status::Ok();
  }

 private:
  static Status Norms(const SegmentList& list, std::vector<float>& norm) {
    const int d = list.tail().head_dim();
    std::vector<float> k(static_cast<size_t>(kBlock) * d), v(k.size());
    for (int64_t begin = 0; begin < list.n_kv(); begin += kBlock) {
      const int64_t end = std::min(begin + kBlock, list.n_kv());
      KVASIR_RETURN_IF_ERROR(list.Decode(begin, end, k.data(), v.data()));
      for (int64_t t = begin; t < end; ++t) {
        const float* key = &k[static_cast<size_t>(t - begin) * d];
        norm[t] = std::inner_product(key, key + d, key, 0.0f);
      }
    }
    return Status::Ok();
  }

  int64_t sinks_, recent_;
};

}  // namespace

const PartInfo& overflow_evict_part() {
  static constexpr ParamInfo params[] = {
      {"sinks", ParamType::kInt, "4", 0, 1e6, "first tokens that stay"},
      {"recent", ParamType::kInt, "256", 0, 1e6, "newest tokens that stay"},
  };
  static constexpr PartInfo info = {
      .kind = PartKind::kOverflow,
      .name = "evict",
      .summary = "when bytes run out, the third with the largest keys goes",
      .card = "L2 norm, arXiv:2406.11430",
      .params = params,
      .needs = kNeedKeys,
      .cost = "d multiply-adds a token and one copy of what stays",
      .make = MakePart<Evict>};
  return info;
}

}  // namespace kvasir
