#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "kvasir/model/forward.h"
#include "kvasir/policy/head_table.h"
#include "kvasir/policy/signal_tap.h"

namespace kvasir {
namespace {

constexpr int32_t kLeastPeriod = 8;

// Bos, then `period` random ids, `n_repeat` times.
struct ProbeText {
  std::vector<TokenId> tokens;
  int32_t first = 0;  // of the repeated part
  int32_t period = 0;
};

Result<ProbeText> MakeText(int32_t n_ctx, int32_t n_vocab, const ProbeOptions& options) {
  ProbeText text;
  if (options.bos >= 0) text.tokens.push_back(options.bos);
  text.first = static_cast<int32_t>(text.tokens.size());
  int32_t n_repeat = std::max(2, options.n_repeat);
  text.period = std::min(options.period, (n_ctx - text.first) / n_repeat);
  if (text.period < kLeastPeriod) {
    return Status::InvalidArgument(
        fmt::format("head probe: {} repeats of at least {} ids do not fit a context of {}",
                    n_repeat, kLeastPeriod, n_ctx));
  }
  std::mt19937_64 random(options.seed);
  constexpr int kTries = 100;  // an odd vocabulary may be special throughout
  for (int32_t i = 0; i < text.period; ++i) {
    TokenId id = 0;
    for (int t = 0; t < kTries; ++t) {
      id = static_cast<TokenId>(random() % static_cast<uint64_t>(n_vocab));
      if (!options.is_special || !options.is_special(id)) break;
    }
    text.tokens.push_back(id);
  }
  for (int32_t i = 0; i < (n_repeat - 1) * text.period; ++i) {
    text.tokens.push_back(text.tokens[static_cast<size_t>(text.first + i)]);
  }
  return text;
}

Status RunAll(ForwardPass& forward, SlabArena& arena, std::span<const TokenId> tokens,
              LayerObserver* observer) {
  SequenceCache cache(CacheShapeOf(forward.model().spec), TileFormat::kF32, TileFormat::kF32,
                      arena);
  while (!tokens.empty()) {
    const size_t n = std::min(tokens.size(), static_cast<size_t>(forward.max_chunk()));
    KVASIR_RETURN_IF_ERROR(forward.Run(tokens.first(n), cache, LogitsWanted::kNone, {}, observer));
    tokens = tokens.subspan(n);
  }
  return Status::Ok();
}

// Attention that tokens of later repeats pay to their earlier selves and to what followed them.
class RepeatObserver final : public LayerObserver {
 public:
  RepeatObserver(ForwardPass& forward, const ProbeText& text, HeadTable* table)
      : forward_(forward), text_(text), table_(table) {}
  bool WantsNorms(int) const override { return true; }

  Status AfterAttend(int layer, const LayerQueries& queries, SequenceCache& cache) override {
    const int group = cache.shape().group();
    std::vector<Status> status(static_cast<size_t>(cache.shape().n_kv_head));
    forward_.team().Run(cache.shape().n_kv_head, [&](int64_t kv_head, int thread) {
      const size_t at = static_cast<size_t>(layer) * cache.shape().n_head + kv_head * group;
      const SegmentList& list = cache.list(layer, static_cast<int>(kv_head));
      status[kv_head] = VisitQueryWeights(
          layer, static_cast<int>(kv_head), queries, cache, forward_.workspace().thread(thread),
          [&](const float* weights, int stride, int query, int n_query, int64_t first,
              int n_token) {
            for (int t = 0; t < n_token; ++t) {
              const int32_t pos = list.pos(first + t);
              if (pos < text_.first) continue;
              for (int row = 0; row < n_query * group; ++row) {
                const int32_t p = queries.pos[query + row / group], back = p - pos;
                if (p < text_.first + text_.period || back < 0) continue;
                const float w = weights[int64_t{row} * stride + t];
                if (back > 0 && back % text_.period == 0) table_->echo[at + row % group] += w;
                if ((back + 1) % text_.period == 0) table_->induction[at + row % group] += w;
              }
            }
          });
    });
    for (Status& s : status) KVASIR_RETURN_IF_ERROR(std::move(s));
    return Status::Ok();
  }

 private:
  ForwardPass& forward_;
  const ProbeText& text_;
  HeadTable* table_;
};

// Sums of queries and keys before RoPE, per head.
class MeanObserver final : public LayerObserver {
 public:
  explicit MeanObserver(ForwardPass& forward) : forward_(forward) {
    const ModelSpec& s = forward.model().spec;
    q_.resize(static_cast<size_t>(s.n_layer) * s.n_head * s.head_dim);
    k_.resize(static_cast<size_t>(s.n_layer) * s.n_kv_head * s.head_dim);
  }
  bool WantsNorms(int) const override { return false; }

  Status AfterAttend(int layer, const LayerQueries& queries, SequenceCache& cache) override {
    const ModelSpec& s = forward_.model().spec;
    const int d = s.head_dim;
    const auto n = static_cast<int64_t>(queries.pos.size());
    if (layer == 0) n_ += n;
    const Rope& rope = forward_.rope(layer);
    std::vector<float> table(static_cast<size_t>(rope.n_rot()));
    std::vector<float> head(static_cast<size_t>(d)), k(static_cast<size_t>(n * d)), v(k.size());
    const auto add = [&](const float* rotated, double* sum) {
      std::copy_n(rotated, d, head.begin());
      rope.Apply(head.data(), table.data());
      for (int j = 0; j < d; ++j) sum[j] += head[j];
    };
    const auto turn_back = [&](int64_t t) {
      const int32_t back = -queries.pos[t];
      rope.FillTable({&back, 1}, table.data());
      // The magnitude is in the rotated head once and in the table once more.
      for (float& x : table) x /= rope.magnitude() * rope.magnitude();
    };
    for (int64_t t = 0; t < n; ++t) {
      turn_back(t);
      for (int h = 0; h < s.n_head; ++h) {
        add(queries.q + (t * s.n_head + h) * d,
            &q_[(static_cast<size_t>(layer) * s.n_head + h) * d]);
      }
    }
    for (int h = 0; h < s.n_kv_head; ++h) {
      const SegmentList& list = cache.list(layer, h);
      KVASIR_RETURN_IF_ERROR(list.Decode(list.n_kv() - n, list.n_kv(), k.data(), v.data()));
      for (int64_t t = 0; t < n; ++t) {
        turn_back(t);
        add(&k[t * d], &k_[(static_cast<size_t>(layer) * s.n_kv_head + h) * d]);
      }
    }
    return Status::Ok();
  }

  // Area under the cumulative attention of the mean query, `n_pos` tokens away from the first.
  float Area(int layer, int q_head, int32_t n_pos) const {
    const ModelSpec& s = forward_.model().spec;
    const int d = s.head_dim, kv_head = q_head / (s.n_head / s.n_kv_head);
    const Rope& rope = forward_.rope(layer);
    std::vector<float> table(static_cast<size_t>(rope.n_rot()));
    const auto rotated = [&](const std::vector<double>& sums, size_t at, int32_t pos) {
      std::vector<float> head(static_cast<size_t>(d));
      for (int j = 0; j < d; ++j) head[j] = static_cast<float>(sums[at * d + j] / n_);
      rope.FillTable({&pos, 1}, table.data());
      rope.Apply(head.data(), table.data());
      return head;
    };
    const auto q = rotated(q_, static_cast<size_t>(layer) * s.n_head + q_head, n_pos - 1);
    std::vector<double> weight(static_cast<size_t>(n_pos));
    for (int32_t p = 0; p < n_pos; ++p) {
      const auto k = rotated(k_, static_cast<size_t>(layer) * s.n_kv_head + kv_head, p);
      for (int j = 0; j < d; ++j) weight[p] += double{q[j]} * k[j];
      weight[p] *= s.attn_scale;
    }
    const double max = *std::ranges::max_element(weight);
    double sum = 0, area = 0;
    for (double& w : weight) sum += w = std::exp(w - max);
    // Token p is under the curve at p, p + 1, ..., n_pos - 1.
    for (int32_t p = 0; p < n_pos; ++p) area += weight[p] / sum * (n_pos - p) / n_pos;
    return static_cast<float>(std::clamp(area, 0.0, 1.0));
  }

 private:
  ForwardPass& forward_;
  std::vector<double> q_, k_;  // (n_layer, heads, head_dim)
  int64_t n_ = 0;
};

}  // namespace

Result<HeadTable> ProbeHeads(ForwardPass& forward, SlabArena& arena, const ProbeOptions& options) {
  const ModelSpec& s = forward.model().spec;
  KVASIR_ASSIGN_OR_RETURN(const ProbeText text, MakeText(forward.n_ctx(), s.n_vocab, options));
  HeadTable table;
  table.fingerprint = ModelFingerprint(forward.model());
  table.n_layer = s.n_layer;
  table.n_head = s.n_head;
  table.n_kv_head = s.n_kv_head;
  const size_t n = static_cast<size_t>(s.n_layer) * s.n_head;
  table.echo.resize(n);
  table.induction.resize(n);
  table.area.resize(n);

  RepeatObserver repeats(forward, text, &table);
  KVASIR_RETURN_IF_ERROR(RunAll(forward, arena, text.tokens, &repeats));
  const auto n_query =
      static_cast<float>(text.tokens.size() - static_cast<size_t>(text.first + text.period));
  for (auto* scores : {&table.echo, &table.induction}) {
    for (float& score : *scores) score = std::clamp(score / n_query, 0.0f, 1.0f);
  }

  MeanObserver means(forward);
  const auto natural = options.text.empty() ? std::span<const TokenId>(text.tokens) : options.text;
  KVASIR_RETURN_IF_ERROR(RunAll(forward, arena, natural, &means));
  const int32_t n_pos = std::max(1, std::min(options.area_positions, forward.n_ctx()));
  forward.team().Run(static_cast<int64_t>(n), [&](int64_t i, int) {
    table.area[i] =
        means.Area(static_cast<int>(i / s.n_head), static_cast<int>(i % s.n_head), n_pos);
  });
  return table;
}

}  // namespace kvasir
