// RazorAttention's retrieval heads: the best by echo and the best by induction. A kv head is one if
// any query head of its group is.
#include "kvasir/policy/budget.h"
#include "kvasir/policy/heads/ranking.h"

namespace kvasir {
namespace {

class Razor final : public HeadClassifier {
 public:
  explicit Razor(const PartArgs& args)
      : file_(args.Text("file")),
        echo_(args.Real("echo") / 100),
        induction_(args.Real("induction") / 100) {}
  bool reads_table() const override { return true; }
  std::string table_path() const override { return file_ == "probe" ? "" : file_; }

  Result<std::vector<HeadRole>> Roles(const CacheShape& shape,
                                      const HeadTable* table) const override {
    const int n_head = shape.n_head;
    std::vector<HeadRole> roles(static_cast<size_t>(shape.n_layer) * shape.n_kv_head,
                                HeadRole::kProtectedOnly);
    for (const auto& [scores, share] :
         {std::pair(&table->echo, echo_), std::pair(&table->induction, induction_)}) {
      for (int32_t head : BestFullLayerHeads(*scores, n_head, shape, share)) {
        const int layer = head / n_head, kv_head = head % n_head / shape.group();
        roles[static_cast<size_t>(layer) * shape.n_kv_head + kv_head] = HeadRole::kWhole;
      }
    }
    return roles;
  }

 private:
  std::string file_;
  double echo_, induction_;
};

}  // namespace

const PartInfo& heads_razor_part() {
  static constexpr ParamInfo params[] = {
      {"echo", ParamType::kReal, "1", 0, 100, "percent of the heads, best by echo"},
      {"induction", ParamType::kReal, "14", 0, 100, "percent of the heads, best by induction"},
      {"file", ParamType::kText, "probe", 0, 0,
       "head table; probe = made when the model is loaded"},
  };
  static constexpr PartInfo info = {
      .kind = PartKind::kHeads,
      .name = "razor",
      .summary = "retrieval heads are kept whole, the others keep what is protected",
      .card = "RazorAttention, arXiv:2407.15891",
      .params = params,
      .cost = "one pass over random ids when the model is loaded",
      .make = MakePart<Razor>};
  return info;
}

}  // namespace kvasir
