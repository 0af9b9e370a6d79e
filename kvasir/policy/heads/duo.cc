// DuoAttention: a share of the kv heads is kept whole; the others see sinks and recent tokens only,
// from the first token on.
#include "kvasir/policy/budget.h"
#include "kvasir/policy/heads/ranking.h"

namespace kvasir {
namespace {

class Duo final : public HeadClassifier {
 public:
  explicit Duo(const PartArgs& args)
      : retrieval_(args.Real("retrieval") / 100),
        window_{static_cast<int32_t>(args.Int("sinks")), static_cast<int32_t>(args.Int("recent"))},
        file_(args.Text("file")) {}
  bool reads_table() const override { return true; }
  std::string table_path() const override { return file_ == "probe" ? "" : file_; }
  HeadWindow streaming_window() const override { return window_; }

  Result<std::vector<HeadRole>> Roles(const CacheShape& shape,
                                      const HeadTable* table) const override {
    const int group = shape.group();
    std::vector<float> area(static_cast<size_t>(shape.n_layer) * shape.n_kv_head);
    for (size_t i = 0; i < table->area.size(); ++i) {
      area[i / group] += table->area[i] / static_cast<float>(group);
    }
    std::vector<HeadRole> roles(area.size(), HeadRole::kProtectedOnly);
    for (int32_t head : BestFullLayerHeads(area, shape.n_kv_head, shape, retrieval_)) {
      roles[head] = HeadRole::kWhole;
    }
    return roles;
  }

 private:
  double retrieval_;
  HeadWindow window_;
  std::string file_;
};

}  // namespace

const PartInfo& heads_duo_part() {
  static constexpr ParamInfo params[] = {
      {"retrieval", ParamType::kReal, "50", 0, 100, "percent of the kv heads that are kept whole"},
      {"sinks", ParamType::kInt, "64", 0, 1e6, "first tokens that streaming heads see"},
      {"recent", ParamType::kInt, "256", 1, 1e6, "newest tokens that streaming heads see"},
      {"file", ParamType::kText, "probe", 0, 0,
       "head table; probe = made when the model is loaded"},
  };
  static constexpr PartInfo info = {
      .kind = PartKind::kHeads,
      .name = "duo",
      .summary = "heads that look far are kept whole, the others see sinks and recent tokens",
      .card = "DuoAttention, arXiv:2410.10819",
      .params = params,
      .cost = "one pass over random ids when the model is loaded",
      .make = MakePart<Duo>};
  return info;
}

}  // namespace kvasir
