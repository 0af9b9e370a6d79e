#include "kvasir/policy/signal_tap.h"

#include <algorithm>
#include <cassert>
#include <cstdlib>

#include "kvasir/codecs/rope_table.h"

namespace kvasir {

Status VisitQueryWeights(int layer, int kv_head, const LayerQueries& queries,
                         const SequenceCache& cache, AttendScratch& scratch,
                         const QueryWeightSink& sink) {
  const int group = cache.shape().group();
  const int n_query = static_cast<int>(queries.pos.size());
  const int block = AttendScratch::kMaxRows / group;
  for (int first = 0; first < n_query; first += block) {
    const int n = std::min(block, n_query - first);
    KVASIR_RETURN_IF_ERROR(
        cache.VisitWeights(layer, kv_head, queries, first, n, scratch,
                           [&](const float* weights, int stride, int, int64_t token, int n_token) {
                             sink(weights, stride, first, n, token, n_token);
                           }));
  }
  return Status::Ok();
}

SignalTap::SignalTap(const CacheShape& shape, int window, bool column_sums,
                     std::vector<bool> watched, ByteLedger* ledger)
    : shape_(shape),
      window_(window),
      column_sums_(column_sums),
      watched_(std::move(watched)),
      ledger_(ledger),
      charges_(static_cast<size_t>(shape.n_layer)),
      windows_(static_cast<size_t>(shape.n_layer)),
      columns_(static_cast<size_t>(shape.n_layer) * shape.n_head) {}

bool SignalTap::WantsNorms(int layer) const {
  return watched_[layer] && (window_ > 0 || column_sums_);
}

int64_t SignalTap::bytes() const {
  int64_t bytes = 0;
  for (const ByteCharge& charge : charges_) bytes += charge.bytes();
  return bytes;
}

int64_t SignalTap::LayerBytes(int64_t n_kv) const {
  const auto row = static_cast<int64_t>(sizeof(int32_t)) +
                   shape_.n_head * (shape_.head_dim * static_cast<int64_t>(sizeof(float)) +
                                    static_cast<int64_t>(sizeof(RowNorm)));
  return window_ * row + (column_sums_ ? n_kv * static_cast<int64_t>(sizeof(float)) : 0);
}

// The new charge is taken before the old one goes, so that a refusal changes nothing.
Status SignalTap::Charge(int layer, const SequenceCache& cache) {
  int64_t n_column = 0;
  for (int kv_head = 0; kv_head < shape_.n_kv_head; ++kv_head) {
    n_column += cache.list(layer, kv_head).n_kv() * shape_.group();
  }
  const int64_t bytes = LayerBytes(n_column);
  if (bytes == charges_[layer].bytes()) return Status::Ok();
  KVASIR_ASSIGN_OR_RETURN(ByteCharge charge, ByteCharge::Take(*ledger_, ByteKind::kIndex, bytes));
  charges_[layer] = std::move(charge);
  return Status::Ok();
}

void SignalTap::KeepWindow(Window* window, const LayerQueries& queries) const {
  const int64_t row = int64_t{shape_.n_head} * shape_.head_dim;
  if (window->q.empty()) {
    window->q.resize(static_cast<size_t>(window_ * row));
    window->pos.resize(static_cast<size_t>(window_));
    window->norms.resize(static_cast<size_t>(window_) * shape_.n_head);
  }
  window->scale = queries.scale;
  window->softcap = queries.softcap;
  const int n_query = static_cast<int>(queries.pos.size());
  for (int i = std::max(0, n_query - window_); i < n_query; ++i) {
    const int slot = window->next;
    std::copy_n(queries.q + i * row, row, window->q.begin() + slot * row);
    std::copy_n(queries.norms + int64_t{i} * shape_.n_head, shape_.n_head,
                window->norms.begin() + int64_t{slot} * shape_.n_head);
    window->pos[slot] = queries.pos[i];
    window->next = (slot + 1) % window_;
    window->n = std::min(window->n + 1, window_);
  }
}

Status SignalTap::AddColumns(int layer, const LayerQueries& queries, const SequenceCache& cache,
                             ThreadTeam& team, AttendWorkspace& workspace) {
  const int group = shape_.group();
  std::vector<Status> status(static_cast<size_t>(shape_.n_kv_head));
  team.Run(shape_.n_kv_head, [&](int64_t task, int thread) {
    const int kv_head = static_cast<int>(task);
    std::vector<float>* columns = &columns_[int64_t{layer} * shape_.n_head + kv_head * group];
    for (int g = 0; g < group; ++g) columns[g].resize(cache.list(layer, kv_head).n_kv());
    // One query after the other, so that sums do not depend on how queries come in chunks.
    status[kv_head] = VisitQueryWeights(
        layer, kv_head, queries, cache, workspace.thread(thread),
        [&](const float* weights, int stride, int, int n_query, int64_t first, int n_token) {
          for (int row = 0; row < n_query * group; ++row) {
            float* sum = columns[row % group].data() + first;
            const float* w = weights + int64_t{row} * stride;
            for (int t = 0; t < n_token; ++t) sum[t] += w[t];
          }
        });
  });
  for (Status& s : status) KVASIR_RETURN_IF_ERROR(std::move(s));
  return Status::Ok();
}

Status SignalTap::Observe(int layer, const LayerQueries& queries, const SequenceCache& cache,
                          ThreadTeam& team, AttendWorkspace& workspace) {
  if (!WantsNorms(layer)) return Status::Ok();
  KVASIR_RETURN_IF_ERROR(Charge(layer, cache));
  if (window_ > 0) KeepWindow(&windows_[layer], queries);
  n_pos_ = std::max(n_pos_, queries.pos.back() + 1);
  return column_sums_ ? AddColumns(layer, queries, cache, team, workspace) : Status::Ok();
}

Status SignalTap::VisitWindow(int layer, int kv_head, int n, const SequenceCache& cache,
                              AttendScratch& scratch, const QueryWeightSink& sink) const {
  const Window& window = windows_[layer];
  assert(n <= window.n);
  // The ring holds at most two runs of rows in order.
  int first_query = 0;
  for (int done = 0; done < n;) {
    const int slot = (window.next - n + done + window_) % window_;
    const int run = std::min(n - done, window_ - slot);
    LayerQueries queries;
    queries.q = window.q.data() + int64_t{slot} * shape_.n_head * shape_.head_dim;
    queries.pos = std::span(window.pos).subspan(slot, run);
    queries.scale = window.scale;
    queries.softcap = window.softcap;
    queries.norms = const_cast<RowNorm*>(window.norms.data()) + int64_t{slot} * shape_.n_head;
    KVASIR_RETURN_IF_ERROR(VisitQueryWeights(
        layer, kv_head, queries, cache, scratch,
        [&](const float* weights, int stride, int query, int n_query, int64_t token, int n_token) {
          sink(weights, stride, first_query + query, n_query, token, n_token);
        }));
    done += run;
    first_query = done;
  }
  return Status::Ok();
}

std::span<const float> SignalTap::column_sums(int layer, int kv_head, int head_in_group) const {
  return columns_[int64_t{layer} * shape_.n_head + kv_head * shape_.group() + head_in_group];
}

void SignalTap::Cut(int layer, int kv_head, std::span<const int32_t> kept, int64_t n_settled) {
  if (!column_sums_) return;
  for (int g = 0; g < shape_.group(); ++g) {
    std::vector<float>& sums =
        columns_[int64_t{layer} * shape_.n_head + kv_head * shape_.group() + g];
    std::vector<float> left(static_cast<size_t>(n_settled));
    left.reserve(kept.size() + left.size());
    for (int32_t i : kept) left.push_back(sums[i]);
    sums = std::move(left);
  }
}

Status SignalTap::Turn(int layer, const Rope& rope, int32_t by) {
  Window& window = windows_[layer];
  if (window.q.empty() || by == 0) return Status::Ok();
  KVASIR_ASSIGN_OR_RETURN(const auto table, GetRopeTable(rope, std::abs(by), *ledger_));
  for (size_t at = 0; at < window.q.size(); at += static_cast<size_t>(shape_.head_dim)) {
    table->Turn(&window.q[at], by);
  }
  return Status::Ok();
}

void SignalTap::Truncate(const SequenceCache& cache, int32_t pos) {
  n_pos_ = std::min(n_pos_, pos);
  for (int layer = 0; layer < shape_.n_layer; ++layer) {
    Window& window = windows_[layer];
    while (window.n > 0 && window.pos[(window.next + window_ - 1) % window_] >= pos) {
      window.next = (window.next + window_ - 1) % window_;
      --window.n;
    }
    for (int head = 0; column_sums_ && head < shape_.n_head; ++head) {
      std::vector<float>& sums = columns_[int64_t{layer} * shape_.n_head + head];
      const int64_t n = cache.list(layer, head / shape_.group()).n_kv();
      if (static_cast<int64_t>(sums.size()) > n) sums.resize(static_cast<size_t>(n));
    }
  }
}

Result<SignalTap> SignalTap::Fork() const {
  SignalTap fork(shape_, window_, column_sums_, watched_, ledger_);
  for (size_t layer = 0; layer < charges_.size(); ++layer) {
    KVASIR_ASSIGN_OR_RETURN(fork.charges_[layer],
                            ByteCharge::Take(*ledger_, ByteKind::kIndex, charges_[layer].bytes()));
  }
  fork.windows_ = windows_;
  fork.columns_ = columns_;
  fork.n_pos_ = n_pos_;
  return fork;
}

}  // namespace kvasir
