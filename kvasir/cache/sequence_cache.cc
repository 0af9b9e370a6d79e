#include "kvasir/cache/sequence_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>

#include "kvasir/cache/first_error.h"
#include "kvasir/cache/sparse_prefill.h"

namespace kvasir {
namespace {

// Sealing unit of layers with a window: how coarsely old tokens are released.
constexpr int64_t kWindowSeal = 4 * kTileTokens;
// Enough for threads to end together, though some may be slower than others.
constexpr int64_t kTasksPerThread = 8;

// The list has lost tokens from its end. What a page holds bounds what it is chosen for: pages that
// lost some are summarised anew, so that a rewind leaves no trace.
Status TruncateSelector(int layer, int kv_head, const SegmentList& list, Selector& selector) {
  const int64_t d = list.tail().head_dim();
  const int64_t whole = list.n_kv() / kSpanTokens * kSpanTokens, n = list.n_kv() - whole;
  selector.OnTruncate(layer, kv_head, whole);
  if (n == 0) return Status::Ok();
  std::vector<float> k(static_cast<size_t>(n * d)), v(k.size());
  KVASIR_RETURN_IF_ERROR(list.Decode(whole, list.n_kv(), k.data(), v.data()));
  return selector.OnAppend(layer, kv_head, whole, n, k.data(), d);
}

}  // namespace

Result<std::unique_ptr<AttendWorkspace>> AttendWorkspace::Create(const CacheShape& shape,
                                                                 int n_thread, ByteLedger& ledger) {
  std::unique_ptr<AttendWorkspace> workspace(new AttendWorkspace(ledger));
  KVASIR_ASSIGN_OR_RETURN(workspace->charge_,
                          ByteCharge::Take(ledger, ByteKind::kScratch,
                                           n_thread * AttendScratch::Bytes(shape.head_dim)));
  for (int i = 0; i < n_thread; ++i) {
    workspace->threads_.push_back(std::make_unique<AttendScratch>(shape.head_dim));
  }
  workspace->ranges_.resize(static_cast<size_t>(n_thread));
  workspace->reads_.resize(static_cast<size_t>(n_thread));
  return workspace;
}

Result<float*> AttendWorkspace::States(int64_t n) {
  if (n > static_cast<int64_t>(states_.size())) {
    states_charge_.Reset();
    states_ = {};
    KVASIR_ASSIGN_OR_RETURN(
        states_charge_,
        ByteCharge::Take(ledger_, ByteKind::kScratch, n * static_cast<int64_t>(sizeof(float))));
    states_.resize(static_cast<size_t>(n));
  }
  return states_.data();
}

Status AttendWorkspace::ReservePrefill(int64_t bytes) {
  if (bytes <= prefill_bytes_) return Status::Ok();
  // Contexts grow chunk by chunk.
  bytes = (std::max(bytes, prefill_bytes_ + prefill_bytes_ / 8) + 63) / 64 * 64;
  const auto n_thread = static_cast<int64_t>(threads_.size());
  prefill_charge_.Reset();
  prefill_ = {};
  prefill_bytes_ = 0;
  KVASIR_ASSIGN_OR_RETURN(prefill_charge_,
                          ByteCharge::Take(ledger_, ByteKind::kScratch, n_thread * bytes));
  prefill_.resize(static_cast<size_t>(n_thread * bytes));
  prefill_bytes_ = bytes;
  return Status::Ok();
}

TokenReads AttendWorkspace::Sum(TokenReads Reads::*of) const {
  TokenReads sum;
  for (const Reads& reads : reads_) sum.Add((reads.*of).read, (reads.*of).held);
  return sum;
}
TokenReads AttendWorkspace::prefill_reads() const { return Sum(&Reads::prefill); }
TokenReads AttendWorkspace::step_reads() const { return Sum(&Reads::steps); }

SequenceCache::SequenceCache(const CacheShape& shape, TileFormat k_format, TileFormat v_format,
                             SlabArena& arena)
    : shape_(shape), arena_(arena) {
  assert(shape.n_head % shape.n_kv_head == 0);
  assert(shape.group() <= AttendScratch::kMaxRows);
  shape_.window.resize(shape.n_layer, 0);
  const DenseLayout layout{shape.head_dim, k_format, v_format};
  lists_.reserve(static_cast<size_t>(shape.n_layer) * shape.n_kv_head);
  for (int i = 0; i < shape.n_layer * shape.n_kv_head; ++i) lists_.emplace_back(layout, arena);
}

int64_t SequenceCache::bytes() const {
  int64_t bytes = 0;
  for (const SegmentList& list : lists_) bytes += list.bytes();
  if (selector_ != nullptr) bytes += selector_->bytes();
  return bytes;
}

Status SequenceCache::Append(int layer, std::span<const int32_t> pos, const float* k_roped,
                             const float* v, ThreadTeam& team) {
  FirstError error;
  // In shares, as attention with a selector is: what a head's last tokens lie in is near then.
  team.RunInShares(shape_.n_kv_head, [&](int64_t kv_head, int) {
    const int64_t offset = kv_head * shape_.head_dim;
    const int64_t stride = int64_t{shape_.n_kv_head} * shape_.head_dim;
    SegmentList& held = list(layer, static_cast<int>(kv_head));
    const int64_t first = held.n_kv();
    Status status = held.Append(pos, k_roped + offset, v + offset, stride);
    if (status.ok() && selector_ != nullptr) {
      status = selector_->OnAppend(layer, static_cast<int>(kv_head), first,
                                   static_cast<int64_t>(pos.size()), k_roped + offset, stride);
    }
    if (!status.ok()) error.Set(kv_head, std::move(status));
  });
  return error.Take();
}

void SequenceCache::Advance(int32_t n_pos) {
  n_pos_ = n_pos;
  for (int layer = 0; layer < shape_.n_layer; ++layer) {
    const int32_t window = shape_.window[layer];
    if (window == 0) continue;
    for (int kv_head = 0; kv_head < shape_.n_kv_head; ++kv_head) {
      SegmentList& held = list(layer, kv_head);
      while (held.tail().n_kv() >= 2 * kWindowSeal) held.SealTail(kWindowSeal);
      // The next query, at n_pos, sees positions above n_pos - window.
      held.ReleaseBefore(n_pos - window + 1);
    }
  }
}

void SequenceCache::set_head_window(int layer, int kv_head, HeadWindow window) {
  head_windows_.resize(lists_.size());
  head_windows_[static_cast<size_t>(layer) * shape_.n_kv_head + kv_head] = window;
}

// Query rows of one kv head for some tokens, gathered and scaled.
struct SequenceCache::RowBlock {
  QueryRows rows;
  int kv_head;
  int first_token, n_token;
};

SequenceCache::RowBlock SequenceCache::Gather(int layer, const LayerQueries& queries, int kv_head,
                                              int first_token, int n_token,
                                              AttendScratch& scratch) const {
  const int group = shape_.group(), d = shape_.head_dim;
  const float scale = queries.softcap > 0 ? queries.scale : queries.scale * kLog2E;
  float* q = scratch.q();
  for (int t = 0; t < n_token; ++t) {
    const int64_t token = first_token + t;
    const float* from = queries.q + (token * shape_.n_head + int64_t{kv_head} * group) * d;
    for (int i = 0; i < group * d; ++i) *q++ = from[i] * scale;
    std::fill_n(scratch.row_pos() + t * group, group, queries.pos[token]);
  }
  QueryRows rows;
  rows.q = scratch.q();
  rows.pos = scratch.row_pos();
  rows.n_row = n_token * group;
  rows.head_dim = d;
  rows.pos_min = queries.pos[first_token];
  rows.pos_max = queries.pos[first_token + n_token - 1];
  rows.window = shape_.window[layer];
  if (!head_windows_.empty()) {
    const HeadWindow& head = head_windows_[static_cast<size_t>(layer) * shape_.n_kv_head + kv_head];
    if (head.recent > 0 && (rows.window == 0 || head.recent < rows.window)) {
      rows.window = head.recent;
      rows.sinks = head.sinks;
    }
  }
  rows.softcap = queries.softcap;
  return {rows, kv_head, first_token, n_token};
}

void SequenceCache::Finish(const RowBlock& block, const LayerQueries& queries,
                           const StateView& states, float* out) const {
  const int group = shape_.group(), d = shape_.head_dim;
  for (int t = 0; t < block.n_token; ++t) {
    const int64_t head =
        int64_t{block.first_token + t} * shape_.n_head + int64_t{block.kv_head} * group;
    FinishStates(states.Rows(t * group, group), d, out + head * d, d);
    if (queries.norms == nullptr) continue;
    for (int i = 0; i < group; ++i) {
      const int row = t * group + i;
      const float total = TotalWeight(states.sum + row * 16);
      queries.norms[head + i] = {states.exponent[row], total > 0 ? 1.0f / total : 0.0f};
    }
  }
}

Status SequenceCache::Attend(int layer, const LayerQueries& queries, ThreadTeam& team,
                             AttendWorkspace& workspace, float* out) const {
  const int n_token = static_cast<int>(queries.pos.size());
  if (n_token == 1 && selector_ != nullptr) {
    return AttendSelected(layer, queries, team, workspace, out);
  }
  if (n_token > 1 && prefill_mask_ != nullptr && shape_.window[layer] == 0) {
    const size_t first = static_cast<size_t>(layer) * shape_.n_kv_head, n = shape_.n_kv_head;
    SparseLayer sparse = {shape_, *prefill_mask_, std::span(lists_).subspan(first, n), {}};
    if (!head_windows_.empty()) sparse.windows = std::span(head_windows_).subspan(first, n);
    if (IsNewestChunk(sparse, queries)) {
      return AttendSparsely(sparse, queries, team, workspace, out);
    }
  }
  const int group = shape_.group();
  const int block_tokens = std::min(n_token, AttendScratch::kMaxRows / group);
  const int64_t n_block = (n_token + block_tokens - 1) / block_tokens;
  const int64_t n_task = n_block * shape_.n_kv_head;
  const auto gather = [&](int64_t task, AttendScratch& scratch) {
    // Late blocks see the most tokens: they go first.
    const auto first = static_cast<int>(n_block - 1 - task / shape_.n_kv_head) * block_tokens;
    return Gather(layer, queries, static_cast<int>(task % shape_.n_kv_head), first,
                  std::min(block_tokens, n_token - first), scratch);
  };
  FirstError error;
  if (n_task >= 4 * team.size()) {
    team.Run(n_task, [&](int64_t task, int thread) {
      AttendScratch& scratch = workspace.thread(thread);
      const RowBlock block = gather(task, scratch);
      const StateView states = scratch.total_state(block.rows.n_row);
      ResetStates(states);
      Status status = list(layer, block.kv_head).Attend(block.rows, scratch, states);
      if (!status.ok()) return error.Set(task, std::move(status));
      Finish(block, queries, states, out);
    });
    return error.Take();
  }
  // Few rows (decode): threads share the spans, and the states are merged afterwards in order.
  int64_t n_span = 0, first_span = INT64_MAX;
  for (int kv_head = 0; kv_head < shape_.n_kv_head; ++kv_head) {
    const SegmentList& held = list(layer, kv_head);
    first_span = std::min(first_span, held.n_released() / kSpanTokens);
    n_span = std::max(n_span, held.n_span());
  }
  n_span -= first_span;
  const int d_pad = PaddedDim(shape_.head_dim);
  const int64_t state_floats = StateFloats(block_tokens * group, d_pad);
  KVASIR_ASSIGN_OR_RETURN(float* memory, workspace.States(n_task * n_span * state_floats));
  // A thread takes some spans in a row, so that what it reads streams.
  const int64_t n_run = std::max<int64_t>(1, n_task * n_span / (kTasksPerThread * team.size()));
  const int64_t n_part = (n_span + n_run - 1) / n_run;
  team.Run(n_task * n_part, [&](int64_t item, int thread) {
    AttendScratch& scratch = workspace.thread(thread);
    const int64_t task = item / n_part, begin = item % n_part * n_run;
    const RowBlock block = gather(task, scratch);
    const HeldQueries held(block.rows.q, scratch);
    for (int64_t span = begin; span < std::min(begin + n_run, n_span); ++span) {
      const StateView states =
          MakeStateView(memory + (task * n_span + span) * state_floats, block.rows.n_row, d_pad);
      ResetStates(states);
      Status status =
          list(layer, block.kv_head).AttendSpan(block.rows, first_span + span, scratch, states);
      if (!status.ok()) return error.Set(task * n_span + span, std::move(status));
    }
  });
  KVASIR_RETURN_IF_ERROR(error.Take());
  for (int64_t task = 0; task < n_task; ++task) {
    AttendScratch& scratch = workspace.thread(0);
    const RowBlock block = gather(task, scratch);
    const StateView total = scratch.total_state(block.rows.n_row);
    ResetStates(total);
    for (int64_t span = 0; span < n_span; ++span) {
      MergeStates(total, MakeStateView(memory + (task * n_span + span) * state_floats,
                                       block.rows.n_row, d_pad));
    }
    Finish(block, queries, total, out);
  }
  return Status::Ok();
}

Status SequenceCache::AttendSelected(int layer, const LayerQueries& queries, ThreadTeam& team,
                                     AttendWorkspace& workspace, float* out) const {
  FirstError error;
  team.RunInShares(shape_.n_kv_head, [&](int64_t task, int thread) {
    AttendScratch& scratch = workspace.thread(thread);
    const int kv_head = static_cast<int>(task);
    const SegmentList& held = list(layer, kv_head);
    const RowBlock block = Gather(layer, queries, kv_head, 0, 1, scratch);
    const StateView states = scratch.total_state(block.rows.n_row);
    ResetStates(states);
    std::vector<IndexRange>& ranges = workspace.ranges(thread);
    Result<bool> chosen = selector_->Select(layer, kv_head, block.rows, held, &ranges);
    Status status;
    if (!chosen.ok()) {
      status = std::move(chosen).status();
    } else if (*chosen) {
      int64_t n_read = 0;
      for (const IndexRange& range : ranges) n_read += range.end - range.begin;
      workspace.step_reads(thread).Add(n_read, held.n_kv());
      status = held.AttendRanges(block.rows, ranges, scratch, states);
    } else {
      workspace.step_reads(thread).Add(held.n_kv(), held.n_kv());
      status = held.Attend(block.rows, scratch, states);
    }
    if (!status.ok()) return error.Set(task, std::move(status));
    Finish(block, queries, states, out);
  });
  return error.Take();
}

Status SequenceCache::VisitWeights(int layer, int kv_head, const LayerQueries& queries, int first,
                                   int n, AttendScratch& scratch, const WeightSink& sink) const {
  assert(queries.norms != nullptr);
  const int group = shape_.group();
  const RowBlock block = Gather(layer, queries, kv_head, first, n, scratch);
  RowNorm norms[AttendScratch::kMaxRows];
  for (int t = 0; t < n; ++t) {
    std::copy_n(queries.norms + int64_t{first + t} * shape_.n_head + int64_t{kv_head} * group,
                group, norms + t * group);
  }
  return list(layer, kv_head).VisitWeights(block.rows, norms, scratch, sink);
}

int32_t SequenceCache::rewind_floor() const {
  int32_t floor = 0;
  for (int layer = 0; layer < shape_.n_layer; ++layer) {
    const SegmentList& held = list(layer, 0);
    if (shape_.window[layer] == 0 || held.n_released() == 0) continue;
    // The query at pos sees from pos - window + 1 on; all of that must still be held.
    const int32_t first_held = held.n_kv() > 0 ? held.pos(0) : n_pos_;
    floor = std::max(floor, first_held + shape_.window[layer] - 1);
  }
  return std::min(floor, n_pos_);
}

Status SequenceCache::Truncate(int32_t pos) {
  if (pos != 0 && pos < rewind_floor()) {
    return Status::InvalidArgument(
        fmt::format("cannot rewind to position {}: sliding-window layers hold tokens only for "
                    "positions from {} to {}",
                    pos, rewind_floor(), n_pos_));
  }
  const DenseLayout layout = lists_.front().tail().layout();
  for (size_t i = 0; i < lists_.size(); ++i) {
    const int64_t n_before = lists_[i].n_kv();
    if (pos == 0) {
      lists_[i] = SegmentList(layout, arena_);
    } else {
      lists_[i].Truncate(pos);
    }
    if (selector_ != nullptr && lists_[i].n_kv() < n_before) {
      KVASIR_RETURN_IF_ERROR(TruncateSelector(static_cast<int>(i) / shape_.n_kv_head,
                                              static_cast<int>(i) % shape_.n_kv_head, lists_[i],
                                              *selector_));
    }
  }
  n_pos_ = std::min(n_pos_, pos);
  if (pos == 0) angle_offset_ = 0;
  return Status::Ok();
}

Result<std::unique_ptr<SequenceCache>> SequenceCache::Fork() const {
  const DenseLayout& layout = lists_.front().tail().layout();
  auto fork = std::make_unique<SequenceCache>(shape_, layout.k_format, layout.v_format, arena_);
  fork->lists_.clear();
  for (const SegmentList& list : lists_) {
    KVASIR_ASSIGN_OR_RETURN(SegmentList copy, list.Fork());
    fork->lists_.push_back(std::move(copy));
  }
  fork->head_windows_ = head_windows_;
  fork->prefill_mask_ = prefill_mask_;
  fork->n_pos_ = n_pos_;
  fork->angle_offset_ = angle_offset_;
  if (selector_ != nullptr) {
    KVASIR_ASSIGN_OR_RETURN(fork->selector_, selector_->Fork());
  }
  return fork;
}

}  // namespace kvasir
