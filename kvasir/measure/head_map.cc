#include "kvasir/measure/head_map.h"

#include <fmt/format.h>

#include <algorithm>

#include "kvasir/policy/signal_tap.h"

namespace kvasir {
namespace {

// Sums the attention of the last queries of each chunk.
class ShareObserver final : public LayerObserver {
 public:
  ShareObserver(ThreadTeam& team, AttendWorkspace& workspace, HeadMap* map, int32_t n_query)
      : team_(team), workspace_(workspace), map_(map), n_query_(n_query) {}
  bool WantsNorms(int) const override { return true; }
  Status AfterAttend(int layer, const LayerQueries& queries, SequenceCache& cache) override;

 private:
  void Add(const SegmentList& list, std::span<const int32_t> pos, const float* weights, int stride,
           int group, int64_t first, int n_token, size_t head);

  ThreadTeam& team_;
  AttendWorkspace& workspace_;
  HeadMap* map_;
  int32_t n_query_;
};

void ShareObserver::Add(const SegmentList& list, std::span<const int32_t> pos, const float* weights,
                        int stride, int group, int64_t first, int n_token, size_t head) {
  for (int t = 0; t < n_token; ++t) {
    const int32_t at = list.pos(first + t);
    for (int row = 0; row < static_cast<int>(pos.size()) * group; ++row) {
      const int32_t back = pos[static_cast<size_t>(row / group)] - at;
      if (back < 0) continue;
      std::vector<float>& share = at < map_->n_sink      ? map_->sink
                                  : back < map_->n_local ? map_->local
                                                         : map_->far;
      share[head + static_cast<size_t>(row % group)] += weights[int64_t{row} * stride + t];
    }
  }
}

Status ShareObserver::AfterAttend(int layer, const LayerQueries& queries, SequenceCache& cache) {
  const CacheShape& shape = cache.shape();
  const auto n_all = static_cast<int32_t>(queries.pos.size());
  // A query that sees no token beyond sinks and window has nothing far to look at.
  int32_t first = std::max(0, n_all - n_query_);
  while (first < n_all && queries.pos[first] < map_->n_sink + map_->n_local) ++first;
  if (first == n_all) return Status::Ok();
  LayerQueries last = queries;
  last.q += int64_t{first} * shape.n_head * shape.head_dim;
  last.norms += int64_t{first} * shape.n_head;
  last.pos = queries.pos.subspan(static_cast<size_t>(first));
  if (layer == 0) map_->n_query += n_all - first;
  std::vector<Status> status(static_cast<size_t>(shape.n_kv_head));
  team_.Run(shape.n_kv_head, [&](int64_t task, int thread) {
    const int kv_head = static_cast<int>(task), group = shape.group();
    const size_t head = static_cast<size_t>(layer) * shape.n_head + kv_head * group;
    status[task] = VisitQueryWeights(
        layer, kv_head, last, cache, workspace_.thread(thread),
        [&](const float* weights, int stride, int query, int n, int64_t token, int n_token) {
          Add(cache.list(layer, kv_head), last.pos.subspan(query, n), weights, stride, group, token,
              n_token, head);
        });
  });
  for (Status& s : status) KVASIR_RETURN_IF_ERROR(std::move(s));
  return Status::Ok();
}

Status ReadText(Runtime& runtime, std::span<const TokenId> tokens, const HeadMapOptions& options,
                HeadMap* map) {
  ForwardPass& forward = runtime.forward();
  ShareObserver observer(forward.team(), forward.workspace(), map, options.n_query);
  SequenceCache cache(CacheShapeOf(runtime.model().spec), TileFormat::kF16, TileFormat::kF16,
                      runtime.arena());
  const auto total = static_cast<int64_t>(tokens.size());
  while (!tokens.empty()) {
    const size_t n = std::min(tokens.size(), static_cast<size_t>(forward.max_chunk()));
    KVASIR_RETURN_IF_ERROR(forward.Run(tokens.first(n), cache, LogitsWanted::kNone, {}, &observer));
    tokens = tokens.subspan(n);
    if (options.progress) options.progress(total - static_cast<int64_t>(tokens.size()), total);
  }
  return Status::Ok();
}

}  // namespace

Result<HeadMap> MeasureHeads(Runtime& runtime, std::span<const TokenId> tokens,
                             const HeadMapOptions& options) {
  const ModelSpec& spec = runtime.model().spec;
  HeadMap map;
  map.n_layer = spec.n_layer;
  map.n_head = spec.n_head;
  map.n_kv_head = spec.n_kv_head;
  map.n_sink = options.n_sink;
  map.n_local = options.n_local;
  for (auto* share : {&map.sink, &map.local, &map.far}) {
    share->resize(static_cast<size_t>(spec.n_layer) * spec.n_head);
  }
  KVASIR_RETURN_IF_ERROR(ReadText(runtime, tokens, options, &map));
  const auto n_query = static_cast<float>(std::max<int64_t>(1, map.n_query));
  for (auto* share : {&map.sink, &map.local, &map.far}) {
    for (float& s : *share) s /= n_query;
  }
  KVASIR_ASSIGN_OR_RETURN(HeadTable table, ProbeHeads(runtime.forward(), runtime.arena(),
                                                      {.period = options.probe_period,
                                                       .text = {},
                                                       .is_special = runtime.Target().is_special}));
  map.induction = std::move(table.induction);
  map.echo = std::move(table.echo);
  return map;
}

std::string HeadMapText(const HeadMap& map) {
  constexpr float kMost = 0.5f, kFinds = 0.1f;
  std::string text;
  for (int layer = 0; layer < map.n_layer; ++layer) {
    text += fmt::format("layer {:>3} ", layer);
    for (int head = 0; head < map.n_head; ++head) {
      const size_t i = static_cast<size_t>(layer) * map.n_head + head;
      text += map.sink[i] > kMost    ? " S"
              : map.local[i] > kMost ? " L"
              : map.far[i] > kMost   ? " F"
                                     : " -";
      text += map.induction[i] >= kFinds || map.echo[i] >= kFinds ? '*' : ' ';
    }
    text.erase(text.find_last_not_of(' ') + 1);
    text += '\n';
  }
  return text;
}

}  // namespace kvasir
