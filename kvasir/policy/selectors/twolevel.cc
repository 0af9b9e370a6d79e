#include <algorithm>
#include <numeric>
#include <utility>

#include "kvasir/policy/selectors/byte_bounds.h"
#include "kvasir/policy/selectors/page_choice.h"
#include "kvasir/policy/selectors/selector_values.h"

namespace kvasir {
namespace {

struct Rule {
  int64_t n_page, n_sink, n_recent;  // pages
  int64_t n_open;                    // super-pages, beside those of sinks and recent tokens
  GroupRule group;
};

int64_t Pages(int64_t tokens) { return (tokens + kPageTokens - 1) / kPageTokens; }
int64_t Supers(int64_t pages) {
  return (pages + ByteBounds::kSuperPages - 1) / ByteBounds::kSuperPages;
}

class TwoLevelIndex final : public HeadIndex {
 public:
  TwoLevelIndex(const Rule& rule, const SelectorShape& shape)
      : rule_(rule),
        head_dim_(shape.head_dim),
        bounds_(shape.head_dim, shape.arena),
        bias_(shape.arena, ByteKind::kIndex) {}

  Status Append(int64_t n, const float* k, int64_t stride) override {
    KVASIR_RETURN_IF_ERROR(bounds_.Append(n, k, stride));
    n_kv_ += n;
    return Status::Ok();
  }
  void Truncate(int64_t n) override {
    bounds_.Truncate(n);
    n_kv_ = n;
    static_cast<void>(bias_.Resize(std::min(bias_.size(), Pages(n))).ok());
  }
  Status SetPageBias(std::span<const float> bias) override {
    KVASIR_RETURN_IF_ERROR(bias_.Resize(static_cast<int64_t>(bias.size())));
    std::copy(bias.begin(), bias.end(), bias_.data());
    return Status::Ok();
  }
  int64_t bytes() const override { return bounds_.bytes() + bias_.bytes(); }

  Result<std::unique_ptr<HeadIndex>> Copy() const override {
    SelectorShape shape;
    shape.head_dim = head_dim_;
    auto copy = std::make_unique<TwoLevelIndex>(rule_, shape);
    copy->n_kv_ = n_kv_;
    KVASIR_ASSIGN_OR_RETURN(copy->bounds_, bounds_.Copy());
    KVASIR_ASSIGN_OR_RETURN(copy->bias_, bias_.Copy());
    return std::unique_ptr<HeadIndex>(std::move(copy));
  }

  Result<bool> Choose(const QueryRows& rows, SelectScratch& scratch,
                      PageChoice* choice) const override {
    const int64_t n_page = bounds_.n_unit(ByteBounds::kPage);
    if (n_page <= rule_.n_page) return false;
    KVASIR_RETURN_IF_ERROR(scratch.q.Resize(rows.n_row));
    KVASIR_RETURN_IF_ERROR(scratch.q8.Resize(rows.n_row * ScoreQueryBytes(ScoreQuads(head_dim_))));
    bounds_.Prepare(rows, scratch.q8.data(), scratch.q.data());
    KVASIR_RETURN_IF_ERROR(Open(rows, scratch, choice));
    const std::vector<int32_t>& opened = choice->opened;
    // Units are the pages of the opened super-pages, the last of which is the newest.
    const int64_t n_closed =
        bounds_.n_unit(ByteBounds::kSuper) - static_cast<int64_t>(opened.size());
    const int64_t n_unit = n_page - n_closed * kSuperPages;
    const Forced forced = {rule_.n_sink, n_unit - rule_.n_recent};
    KVASIR_RETURN_IF_ERROR(
        Best(ByteBounds::kPage, opened, n_unit, rule_.n_page, forced, rows, scratch));
    KVASIR_RETURN_IF_ERROR(scratch.chosen.Resize(n_page));
    Spread(opened, n_page, scratch.chosen.data());
    return MarkedRanges(scratch.chosen.data(), n_page, kPageTokens, n_kv_, &choice->ranges);
  }

  std::vector<float> Certify(const PageChoice& choice, const QueryRows& rows,
                             const StateView& attended) const override {
    MassCertificate certificate(rows, attended, n_kv_, bounds_.Magnitudes(rows));
    size_t at = 0, next_opened = 0;
    const auto skip = [&](ByteBounds::Level level, int64_t unit) {
      const int64_t begin = unit * ByteBounds::unit_tokens(level);
      const int64_t end = std::min(n_kv_, begin + ByteBounds::unit_tokens(level));
      const int64_t n_skipped = CountSkipped(choice.ranges, begin, end, &at);
      for (int r = 0; r < rows.n_row && n_skipped > 0; ++r) {
        const float* q = rows.q + int64_t{r} * head_dim_;
        certificate.Skip(r, n_skipped, bounds_.Bound(level, unit, q), Bias(level, unit));
      }
    };
    const int64_t n_page = bounds_.n_unit(ByteBounds::kPage);
    for (int64_t super = 0; super < bounds_.n_unit(ByteBounds::kSuper); ++super) {
      if (next_opened == choice.opened.size() || choice.opened[next_opened] != super) {
        skip(ByteBounds::kSuper, super);
        continue;
      }
      ++next_opened;
      const int64_t first = super * kSuperPages;
      for (int64_t page = first; page < std::min(n_page, first + kSuperPages); ++page) {
        skip(ByteBounds::kPage, page);
      }
    }
    return certificate.Shares();
  }

 private:
  static constexpr int64_t kSuperPages = ByteBounds::kSuperPages;

  float Bias(ByteBounds::Level level, int64_t unit) const {
    const int64_t n = level == ByteBounds::kPage ? 1 : kSuperPages;
    float bias = 0;
    for (int64_t i = unit * n; i < std::min(bias_.size(), (unit + 1) * n); ++i) {
      bias = std::max(bias, bias_[i]);
    }
    return bias;
  }

  // The super-pages whose pages are scored.
  Status Open(const QueryRows& rows, SelectScratch& scratch, PageChoice* choice) const {
    const int64_t n_super = bounds_.n_unit(ByteBounds::kSuper);
    const int64_t n_page = bounds_.n_unit(ByteBounds::kPage);
    const Forced forced = {Supers(rule_.n_sink), (n_page - rule_.n_recent) / kSuperPages};
    const int64_t n_open = rule_.n_open + forced.n_first + n_super - forced.last;
    choice->opened.resize(static_cast<size_t>(n_super));
    std::iota(choice->opened.begin(), choice->opened.end(), 0);
    if (n_super <= n_open) return Status::Ok();
    const int64_t n_tile = (n_super + kScorePages - 1) / kScorePages;
    KVASIR_RETURN_IF_ERROR(Best(ByteBounds::kSuper,
                                std::span(choice->opened).first(static_cast<size_t>(n_tile)),
                                n_super, n_open, forced, rows, scratch));
    std::erase_if(choice->opened, [&](int32_t super) { return scratch.chosen[super] == 0; });
    return Status::Ok();
  }

  // Marks in scratch.chosen the best k of the n units that lie in `tiles`.
  Status Best(ByteBounds::Level level, std::span<const int32_t> tiles, int64_t n, int64_t k,
              Forced forced, const QueryRows& rows, SelectScratch& scratch) const {
    const int64_t stride = static_cast<int64_t>(tiles.size()) * kScorePages;
    KVASIR_RETURN_IF_ERROR(scratch.scores.Resize(rows.n_row * stride));
    KVASIR_RETURN_IF_ERROR(scratch.reduced.Resize(stride));
    KVASIR_RETURN_IF_ERROR(scratch.chosen.Resize(n));
    float* scores = scratch.scores.data();
    float* reduced = scratch.reduced.data();
    bounds_.Score(level, scratch.q8.data(), scratch.q.data(), rows.n_row, tiles, scores, stride);
    if (!bias_.empty()) {
      for (int64_t i = 0; i < stride; ++i) {
        reduced[i] =
            Bias(level, int64_t{tiles[static_cast<size_t>(i / kScorePages)]} * kScorePages +
                            i % kScorePages);
      }
    }
    ShapeScores(rows, n, stride, bias_.empty() ? nullptr : reduced, scores);
    std::fill_n(scratch.chosen.data(), n, uint8_t{0});
    MarkBest(rule_.group, rows.n_row, n, stride, k, forced, scores, reduced, scratch.chosen.data());
    return Status::Ok();
  }

  // Moves the marks of opened pages to where the pages are.
  static void Spread(const std::vector<int32_t>& opened, int64_t n_page, uint8_t* chosen) {
    int64_t end = n_page;
    for (size_t i = opened.size(); i-- > 0;) {
      const int64_t from = static_cast<int64_t>(i) * kSuperPages, to = opened[i] * kSuperPages;
      const int64_t n = std::min(kSuperPages, n_page - to);
      std::copy_backward(chosen + from, chosen + from + n, chosen + to + n);
      std::fill(chosen + to + n, chosen + end, uint8_t{0});
      end = to;
    }
    std::fill(chosen, chosen + end, uint8_t{0});
  }

  Rule rule_;
  int head_dim_;
  ByteBounds bounds_;
  ChargedArray<float> bias_;  // by page; empty or short = none
};

constexpr SelectorParam kParams[] = {
    {.name = "tokens", .fallback = "2048", .min = 16, .max = 1 << 28, .help = "tokens read"},
    {.name = "reuse", .fallback = "1", .min = 1, .max = 1024, .help = "steps that a choice serves"},
    {.name = "open",
     .fallback = "256",
     .min = 1,
     .max = 1 << 20,
     .help = "super-pages of 256 tokens looked into, beside the first and the newest"},
    {.name = "sink",
     .fallback = "16",
     .min = 0,
     .max = 1 << 20,
     .help = "first tokens always read"},
    {.name = "recent",
     .fallback = "64",
     .min = 1,
     .max = 1 << 20,
     .help = "newest tokens always read"},
    {.name = "group", .fallback = "sum", .choices = kGroupRules, .help = kGroupRuleHelp},
    {.name = "dense", .fallback = "0", .min = 0, .max = 1 << 16, .help = "first layers read whole"},
};

Result<std::unique_ptr<Selector>> Make(const SelectorValues& values, const SelectorShape& shape) {
  Rule rule;
  rule.n_sink = Pages(values.Int("sink"));
  rule.n_recent = Pages(values.Int("recent") - 1) + 1;  // the newest page may hold one token
  rule.n_page = std::max(values.Int("tokens") / kPageTokens, rule.n_sink + rule.n_recent);
  rule.n_open = std::max(values.Int("open"), Supers(rule.n_page));  // enough to choose from
  rule.group = ParseGroupRule(values.Text("group"));
  auto indices = MakeIndices(shape, static_cast<int>(values.Int("dense")), [&](int, int) {
    return std::make_unique<TwoLevelIndex>(rule, shape);
  });
  return std::unique_ptr<Selector>(std::make_unique<PagedSelector>(
      shape, static_cast<int>(values.Int("reuse")), std::move(indices)));
}

}  // namespace

const SelectorInfo& twolevel_selector() {
  static constexpr SelectorInfo info = {
      .name = "twolevel",
      .summary = "int8 key extremes of super-pages, then of the pages in the best of them",
      .card = "Quest on VNNI and two levels, after arXiv:2406.10774 and arXiv:2501.06807",
      .params = kParams,
      .make = Make};
  return info;
}

}  // namespace kvasir
