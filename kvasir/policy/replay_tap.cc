#include "kvasir/policy/replay_tap.h"

#include <algorithm>

#include "kvasir/policy/signal_tap.h"

namespace kvasir {

Status ReplayTap::Begin(const SequenceCache& cache, ByteLedger& ledger) {
  Reset();
  const CacheShape& shape = cache.shape();
  int64_t n_token = 0;
  for (int layer = 0; layer < shape.n_layer; ++layer) {
    for (int h = 0; h < shape.n_kv_head; ++h) n_token += cache.list(layer, h).n_kv();
  }
  KVASIR_ASSIGN_OR_RETURN(charge_, ByteCharge::Take(ledger, ByteKind::kIndex,
                                                    n_token * static_cast<int64_t>(sizeof(float))));
  n_kv_head_ = shape.n_kv_head;
  for (int layer = 0; layer < shape.n_layer; ++layer) {
    for (int h = 0; h < shape.n_kv_head; ++h) {
      max_.emplace_back(static_cast<size_t>(cache.list(layer, h).n_kv()));
    }
  }
  return Status::Ok();
}

Status ReplayTap::Observe(int layer, const LayerQueries& queries, const SequenceCache& cache,
                          ThreadTeam& team, AttendWorkspace& workspace) {
  const int group = cache.shape().group();
  std::vector<Status> status(static_cast<size_t>(n_kv_head_));
  team.Run(n_kv_head_, [&](int64_t task, int thread) {
    const int kv_head = static_cast<int>(task);
    std::vector<float>& max = max_[static_cast<size_t>(layer) * n_kv_head_ + kv_head];
    const auto n_held = static_cast<int64_t>(max.size());
    status[kv_head] = VisitQueryWeights(
        layer, kv_head, queries, cache, workspace.thread(thread),
        [&](const float* weights, int stride, int, int n_query, int64_t first, int n_token) {
          const int64_t n = std::min<int64_t>(n_token, n_held - first);
          for (int row = 0; row < n_query * group; ++row) {
            const float* w = weights + int64_t{row} * stride;
            for (int64_t t = 0; t < n; ++t) max[first + t] = std::max(max[first + t], w[t]);
          }
        });
  });
  for (Status& s : status) KVASIR_RETURN_IF_ERROR(std::move(s));
  return Status::Ok();
}

}  // namespace kvasir
