#include "kvasir/policy/replay_tap.h"

#include <algorithm>

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

Status ReplayTap::BeginPart(int32_t begin, int32_t end, int n_thread, ByteLedger& ledger) {
  begin_ = begin;
  end_ = end;
  part_charge_.Reset();
  size_t longest = 0;
  for (const auto& max : max_) longest = std::max(longest, max.size());
  // For each head that is worked on: weights of a block of rows, and where every token belongs.
  const int64_t n_part = int64_t{end} - begin;
  const int64_t bytes =
      AttendScratch::kMaxRows * n_part * static_cast<int64_t>(sizeof(float)) +
      (static_cast<int64_t>(longest) + n_part) * static_cast<int64_t>(2 * sizeof(int32_t)) +
      n_part * static_cast<int64_t>(sizeof(int64_t));
  KVASIR_ASSIGN_OR_RETURN(part_charge_, ByteCharge::Take(ledger, ByteKind::kScratch,
                                                         std::min(n_thread, n_kv_head_) * bytes));
  return Status::Ok();
}

Status ReplayTap::ObserveHead(int layer, int kv_head, const LayerQueries& queries,
                              const SequenceCache& cache, AttendScratch& scratch) {
  std::vector<float>& max = max_[static_cast<size_t>(layer) * n_kv_head_ + kv_head];
  const std::vector<int32_t> pos = cache.list(layer, kv_head).AllPositions();
  const auto n_held = static_cast<int64_t>(max.size());
  constexpr int32_t kBeside = -1, kOutside = -2;
  std::vector<int32_t> place(pos.size(), kBeside);  // in the part, or what it is else
  std::vector<int64_t> part;                        // indices into the list
  for (int64_t t = 0; t < n_held; ++t) {
    if (pos[t] >= begin_ && pos[t] < end_) {
      place[t] = static_cast<int32_t>(part.size());
      part.push_back(t);
    } else if (pos[t] >= kSinks) {
      place[t] = kOutside;
    }
  }
  const int group = cache.shape().group(), block = AttendScratch::kMaxRows / group;
  const int n_query = static_cast<int>(queries.pos.size());
  std::vector<float> weight(static_cast<size_t>(block * group) * part.size());
  double mass[AttendScratch::kMaxRows];
  for (int query = 0; query < n_query; query += block) {
    const int n = std::min(block, n_query - query), n_row = n * group;
    std::ranges::fill(weight, 0.0f);
    std::fill_n(mass, n_row, 0.0);
    // Weights are of everything that is held; those of a part of it are a share of theirs.
    KVASIR_RETURN_IF_ERROR(
        cache.VisitWeights(layer, kv_head, queries, query, n, scratch,
                           [&](const float* weights, int stride, int, int64_t token, int n_token) {
                             for (int row = 0; row < n_row; ++row) {
                               const float* w = weights + int64_t{row} * stride;
                               for (int t = 0; t < n_token; ++t) {
                                 const int32_t at = place[token + t];
                                 if (at == kOutside) continue;
                                 mass[row] += w[t];
                                 if (at >= 0)
                                   weight[static_cast<size_t>(row) * part.size() + at] = w[t];
                               }
                             }
                           }));
    for (int row = 0; row < n_row; ++row) {
      if (!(mass[row] > 0)) continue;  // all of it underflowed
      const float* w = &weight[static_cast<size_t>(row) * part.size()];
      for (size_t i = 0; i < part.size(); ++i) {
        max[part[i]] = std::max(max[part[i]], static_cast<float>(w[i] / mass[row]));
      }
    }
  }
  return Status::Ok();
}

Status ReplayTap::Observe(int layer, const LayerQueries& queries, const SequenceCache& cache,
                          ThreadTeam& team, AttendWorkspace& workspace) {
  std::vector<Status> status(static_cast<size_t>(n_kv_head_));
  team.Run(n_kv_head_, [&](int64_t task, int thread) {
    status[task] =
        ObserveHead(layer, static_cast<int>(task), queries, cache, workspace.thread(thread));
  });
  for (Status& s : status) KVASIR_RETURN_IF_ERROR(std::move(s));
  return Status::Ok();
}

}  // namespace kvasir
