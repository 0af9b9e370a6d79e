#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "kvasir/policy/selectors/bounds_index.h"
#include "kvasir/policy/selectors/selector_values.h"

namespace kvasir {
namespace {

constexpr int kUnitPages = 4;

// A head that attends to the first and the newest tokens, whatever it is asked. Nothing is kept,
// and nothing is certain of what it skips.
class StreamingIndex final : public HeadIndex {
 public:
  StreamingIndex(int64_t n_sink, int64_t n_local) : n_sink_(n_sink), n_local_(n_local) {}

  Status Append(int64_t n, const float*, int64_t) override {
    n_kv_ += n;
    return Status::Ok();
  }
  void Truncate(int64_t n) override { n_kv_ = n; }
  Status SetPageBias(std::span<const float>) override { return Status::Ok(); }
  Result<bool> Choose(const QueryRows&, SelectScratch&, PageChoice* choice) const override {
    if (n_kv_ <= n_sink_ + n_local_) return false;
    choice->ranges.clear();
    if (n_sink_ > 0) choice->ranges.push_back({0, n_sink_});
    choice->ranges.push_back({n_kv_ - n_local_, n_kv_});
    return true;
  }
  std::vector<float> Certify(const PageChoice&, const QueryRows&, const StateView&) const override {
    return {};
  }
  int64_t bytes() const override { return 0; }
  Result<std::unique_ptr<HeadIndex>> Copy() const override {
    auto copy = std::make_unique<StreamingIndex>(n_sink_, n_local_);
    copy->n_kv_ = n_kv_;
    return std::unique_ptr<HeadIndex>(std::move(copy));
  }

 private:
  int64_t n_sink_, n_local_;
};

// Parses "*" as -1 (all), or an index below n.
bool ParseIndex(std::string_view text, int n, int* index) {
  if (text == "*") {
    *index = -1;
    return true;
  }
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, *index);
  return error == std::errc() && stop == end && !text.empty() && *index >= 0 && *index < n;
}

// (n_layer * n_kv_head) true = streaming, from "layer.head/layer.head/...".
Result<std::vector<bool>> ParseRoles(std::string_view text, const SelectorShape& shape) {
  const auto n_kv_head = static_cast<size_t>(shape.n_kv_head);
  std::vector<bool> streaming(static_cast<size_t>(shape.n_layer) * n_kv_head);
  while (!text.empty()) {
    const std::string_view entry = text.substr(0, text.find('/'));
    const size_t dot = entry.find('.');
    int layer = 0, head = 0;
    if (dot == std::string_view::npos || !ParseIndex(entry.substr(0, dot), shape.n_layer, &layer) ||
        !ParseIndex(entry.substr(dot + 1), shape.n_kv_head, &head)) {
      return Status::InvalidArgument(fmt::format(
          "lserve: streaming: expected layer.head with a layer below {} and a kv head below {}, "
          "or * for all, found '{}'",
          shape.n_layer, shape.n_kv_head, entry));
    }
    for (size_t i = 0; i < streaming.size(); ++i) {
      const bool named = (layer < 0 || i / n_kv_head == static_cast<size_t>(layer)) &&
                         (head < 0 || i % n_kv_head == static_cast<size_t>(head));
      if (named) streaming[i] = true;
    }
    text.remove_prefix(std::min(entry.size() + 1, text.size()));
  }
  return streaming;
}

constexpr SelectorParam kParams[] = {
    {.name = "tokens",
     .fallback = "4096",
     .min = 64,
     .max = 1 << 28,
     .help = "tokens that retrieval heads read, in pages of 64"},
    {.name = "reuse", .fallback = "4", .min = 1, .max = 1024, .help = "steps that a choice serves"},
    {.name = "streaming",
     .fallback = "",
     .help = "heads that read sink and local tokens only: layer.head/layer.head/..., * for all"},
    {.name = "sink", .fallback = "128", .min = 0, .max = 1 << 20, .help = "first tokens of those"},
    {.name = "local",
     .fallback = "256",
     .min = 1,
     .max = 1 << 20,
     .help = "newest tokens of those"},
    {.name = "group", .fallback = "sum", .choices = kGroupRules, .help = kGroupRuleHelp},
    {.name = "dense", .fallback = "0", .min = 0, .max = 1 << 16, .help = "first layers read whole"},
};

Result<std::unique_ptr<Selector>> Make(const SelectorValues& values, const SelectorShape& shape) {
  KVASIR_ASSIGN_OR_RETURN(const std::vector<bool> streaming,
                          ParseRoles(values.Text("streaming"), shape));
  const BoundsChoice rule = {.unit_pages = kUnitPages,
                             .n_unit = values.Int("tokens") / (kUnitPages * kPageTokens),
                             .group = ParseGroupRule(values.Text("group"))};
  auto indices = MakeIndices(
      shape, static_cast<int>(values.Int("dense")),
      [&](int layer, int kv_head) -> std::unique_ptr<HeadIndex> {
        if (!streaming[static_cast<size_t>(layer * shape.n_kv_head + kv_head)]) {
          return MakeBoundsIndex(rule, shape);
        }
        return std::make_unique<StreamingIndex>(values.Int("sink"), values.Int("local"));
      });
  return std::unique_ptr<Selector>(std::make_unique<PagedSelector>(
      shape, static_cast<int>(values.Int("reuse")), std::move(indices)));
}

}  // namespace

const SelectorInfo& lserve_selector() {
  static constexpr SelectorInfo info = {
      .name = "lserve",
      .summary = "pages of 64 tokens by the best of their four parts, chosen anew every few steps",
      .card = "LServe, arXiv:2502.14866",
      .params = kParams,
      .make = Make};
  return info;
}

}  // namespace kvasir
