#include "kvasir/cache/sparse_prefill.h"

#include <algorithm>
#include <vector>

#include "kvasir/cache/first_error.h"
#include "kvasir/cache/key_tiles.h"

namespace kvasir {
namespace {

// Some query heads of one kv head at the tokens of one block.
struct Task {
  int kv_head, first_head, n_head;  // heads within the group
  int first_token, n_token;         // of the chunk
};

// Lays out a call's room: the marks, then what the mask takes.
std::span<uint8_t> LayMarks(PrefillRoom& room, int64_t n_head, int64_t n_unit) {
  return room.Take<uint8_t>(n_head * n_unit);
}

// What is read: the chosen units of the tokens before the block, then those from n_before to `end`.
void FillRanges(std::span<const uint8_t> chosen, int64_t unit_tokens, int64_t n_before, int64_t end,
                std::vector<IndexRange>* ranges) {
  const auto add = [&](IndexRange range) {
    if (!ranges->empty() && ranges->back().end == range.begin) {
      ranges->back().end = range.end;
    } else {
      ranges->push_back(range);
    }
  };
  for (size_t u = 0; u < chosen.size(); ++u) {
    const auto begin = static_cast<int64_t>(u) * unit_tokens;
    if (chosen[u] != 0) add({begin, begin + unit_tokens});
  }
  add({n_before, end});
}

class SparseChunk {
 public:
  SparseChunk(const SparseLayer& layer, const LayerQueries& queries, AttendWorkspace& workspace,
              float* out)
      : layer_(layer), queries_(queries), workspace_(workspace), out_(out) {}

  Status Run(ThreadTeam& team);

 private:
  int n_token() const { return static_cast<int>(queries_.pos.size()); }
  int group() const { return layer_.shape.group(); }
  int head_dim() const { return layer_.shape.head_dim; }
  HeadWindow WindowOf(int kv_head) const {
    return layer_.windows.empty() ? HeadWindow{} : layer_.windows[kv_head];
  }
  // Of the first token of the chunk, in blocks counted from position 0.
  int64_t first_block() const { return queries_.pos.front() / kPrefillBlock; }

  Task TaskOf(int64_t index, int n_head) const;
  Status Reserve() const;
  Status Block(const Task& task, int thread) const;
  // One query head, some tokens of its block.
  //   chosen  what is read of what lies before the block, by unit; empty = everything
  Status Rows(const Task& task, int head, int first_token, int n_token, int64_t n_before,
              std::span<const uint8_t> chosen, int thread) const;
  QueryRows Gather(const Task& task, int head, int first_token, int n_token,
                   AttendScratch& scratch) const;
  // `first` is a token of the chunk, `head` a query head of the layer.
  void PutNorms(const StateView& states, int64_t first, int head) const;

  const SparseLayer& layer_;
  const LayerQueries& queries_;
  AttendWorkspace& workspace_;
  float* out_;
};

Task SparseChunk::TaskOf(int64_t index, int n_head) const {
  const int n_part = group() / n_head;
  const int64_t part = index % (int64_t{n_part} * layer_.shape.n_kv_head);
  const int64_t block = index / (int64_t{n_part} * layer_.shape.n_kv_head);
  const int64_t n_block = (queries_.pos.back() / kPrefillBlock) - first_block() + 1;
  // Late blocks choose among the most tokens: they go first.
  const int64_t begin = (first_block() + n_block - 1 - block) * kPrefillBlock;
  const auto token_at = [&](int64_t pos) {
    return static_cast<int>(std::clamp<int64_t>(pos - queries_.pos.front(), 0, n_token()));
  };
  Task task;
  task.kv_head = static_cast<int>(part / n_part);
  task.first_head = static_cast<int>(part % n_part) * n_head;
  task.n_head = n_head;
  task.first_token = token_at(begin);
  task.n_token = token_at(begin + kPrefillBlock) - task.first_token;
  return task;
}

Status SparseChunk::Reserve() const {
  int64_t n_kv = 0, n_tile = 0;
  for (const SegmentList& list : layer_.lists) {
    n_kv = std::max(n_kv, list.n_kv());
    n_tile = std::max(n_tile, CountTiles(list));
  }
  return workspace_.ReservePrefill(PrefillBytes(layer_.shape, layer_.mask, n_kv, n_tile));
}

Status SparseChunk::Run(ThreadTeam& team) {
  KVASIR_RETURN_IF_ERROR(Reserve());
  const int64_t n_block = (queries_.pos.back() / kPrefillBlock) - first_block() + 1;
  const int64_t n_task = n_block * layer_.shape.n_kv_head;
  // Heads of a group share the keys that are read to choose, unless threads would be idle.
  const int n_head = n_task >= 4 * team.size() ? group() : 1;
  FirstError error;
  team.Run(n_task * (group() / n_head), [&](int64_t index, int thread) {
    Status status = Block(TaskOf(index, n_head), thread);
    if (!status.ok()) error.Set(index, std::move(status));
  });
  return error.Take();
}

Status SparseChunk::Block(const Task& task, int thread) const {
  const SegmentList& held = layer_.lists[task.kv_head];
  const int64_t index = held.n_kv() - n_token() + task.first_token;
  const int64_t n_before = index / kPrefillBlock * kPrefillBlock;
  const int64_t n_unit = n_before / layer_.mask.unit_tokens();
  std::span<uint8_t> chosen;
  if (n_unit > 0 && task.n_token > 1 && WindowOf(task.kv_head).recent == 0) {
    PrefillRoom room(workspace_.prefill(thread));
    chosen = LayMarks(room, task.n_head, n_unit);
    std::fill(chosen.begin(), chosen.end(), uint8_t{0});
    PrefillQueries block;
    block.token_stride = int64_t{layer_.shape.n_head} * head_dim();
    block.q = queries_.q + task.first_token * block.token_stride +
              (int64_t{task.kv_head} * group() + task.first_head) * head_dim();
    block.n_token = task.n_token;
    block.n_head = task.n_head;
    block.head_dim = head_dim();
    block.pos = queries_.pos[task.first_token];
    block.index = index;
    block.n_before = n_before;
    block.scale = queries_.scale;
    block.softcap = queries_.softcap;
    KVASIR_RETURN_IF_ERROR(
        layer_.mask.Choose(block, held, workspace_.thread(thread),
                           PrefillRoom(workspace_.prefill(thread) + room.bytes()), chosen));
  }
  for (int h = 0; h < task.n_head; ++h) {
    std::span<const uint8_t> of_head;
    if (!chosen.empty()) {
      of_head = chosen.subspan(static_cast<size_t>(h * n_unit), static_cast<size_t>(n_unit));
      const int64_t n_read = std::count(of_head.begin(), of_head.end(), uint8_t{1});
      workspace_.prefill_reads(thread).Add(n_read * layer_.mask.unit_tokens(), n_before);
      if (n_read == n_unit) of_head = {};
    }
    for (int done = 0; done < task.n_token; done += AttendScratch::kMaxRows) {
      const int n = std::min(AttendScratch::kMaxRows, task.n_token - done);
      KVASIR_RETURN_IF_ERROR(Rows(task, h, task.first_token + done, n, n_before, of_head, thread));
    }
  }
  return Status::Ok();
}

QueryRows SparseChunk::Gather(const Task& task, int head, int first_token, int n_token,
                              AttendScratch& scratch) const {
  const int d = head_dim();
  const float scale = queries_.softcap > 0 ? queries_.scale : queries_.scale * kLog2E;
  const float* from = queries_.q + (int64_t{first_token} * layer_.shape.n_head +
                                    int64_t{task.kv_head} * group() + task.first_head + head) *
                                       d;
  for (int t = 0; t < n_token; ++t, from += int64_t{layer_.shape.n_head} * d) {
    float* q = scratch.q() + int64_t{t} * d;
    for (int i = 0; i < d; ++i) q[i] = from[i] * scale;
    scratch.row_pos()[t] = queries_.pos[first_token + t];
  }
  QueryRows rows;
  rows.q = scratch.q();
  rows.pos = scratch.row_pos();
  rows.n_row = n_token;
  rows.head_dim = d;
  rows.pos_min = queries_.pos[first_token];
  rows.pos_max = queries_.pos[first_token + n_token - 1];
  rows.softcap = queries_.softcap;
  const HeadWindow window = WindowOf(task.kv_head);
  rows.window = window.recent;
  rows.sinks = window.recent > 0 ? window.sinks : 0;
  return rows;
}

Status SparseChunk::Rows(const Task& task, int head, int first_token, int n_rows, int64_t n_before,
                         std::span<const uint8_t> chosen, int thread) const {
  const SegmentList& held = layer_.lists[task.kv_head];
  AttendScratch& scratch = workspace_.thread(thread);
  const QueryRows rows = Gather(task, head, first_token, n_rows, scratch);
  const StateView states = scratch.total_state(n_rows);
  ResetStates(states);
  if (chosen.empty()) {
    KVASIR_RETURN_IF_ERROR(held.Attend(rows, scratch, states));
  } else {
    const int64_t end = held.n_kv() - n_token() + first_token + n_rows;
    std::vector<IndexRange>& ranges = workspace_.ranges(thread);
    FillRanges(chosen, layer_.mask.unit_tokens(), n_before, end, &ranges);
    KVASIR_RETURN_IF_ERROR(held.AttendRanges(rows, ranges, scratch, states));
  }
  const int d = head_dim(), of_layer = task.kv_head * group() + task.first_head + head;
  const int64_t stride = int64_t{layer_.shape.n_head} * d;
  FinishStates(states, d, out_ + first_token * stride + int64_t{of_layer} * d, stride);
  if (queries_.norms == nullptr) return Status::Ok();
  if (chosen.empty()) {
    PutNorms(states, first_token, of_layer);
    return Status::Ok();
  }
  const int skip = std::max(0, n_token() - queries_.n_norm - first_token);
  if (skip >= n_rows) return Status::Ok();
  QueryRows wanted = rows;
  wanted.q += int64_t{skip} * d;
  wanted.pos += skip;
  wanted.n_row -= skip;
  wanted.pos_min = wanted.pos[0];
  const StateView whole = scratch.total_state(wanted.n_row);
  ResetStates(whole);
  KVASIR_RETURN_IF_ERROR(held.Attend(wanted, scratch, whole));
  PutNorms(whole, first_token + skip, of_layer);
  return Status::Ok();
}

void SparseChunk::PutNorms(const StateView& states, int64_t first, int head) const {
  for (int r = 0; r < states.n_row; ++r) {
    const float total = TotalWeight(states.sum + r * 16);
    queries_.norms[(first + r) * layer_.shape.n_head + head] = {states.exponent[r],
                                                                total > 0 ? 1.0f / total : 0.0f};
  }
}

}  // namespace

int64_t PrefillBytes(const CacheShape& shape, const PrefillMask& mask, int64_t n_kv,
                     int64_t n_tile) {
  PrefillRoom room;
  LayMarks(room, shape.group(), n_kv / mask.unit_tokens());
  return room.bytes() + mask.RoomBytes({shape.group(), shape.head_dim, n_kv, n_tile});
}

bool IsNewestChunk(const SparseLayer& layer, const LayerQueries& queries) {
  const auto n = static_cast<int64_t>(queries.pos.size());
  if (queries.pos.back() - queries.pos.front() != n - 1) return false;
  return std::all_of(layer.lists.begin(), layer.lists.end(), [&](const SegmentList& list) {
    return list.n_kv() >= n && list.pos(list.n_kv() - n) == queries.pos.front() &&
           list.pos(list.n_kv() - 1) == queries.pos.back();
  });
}

Status AttendSparsely(const SparseLayer& layer, const LayerQueries& queries, ThreadTeam& team,
                      AttendWorkspace& workspace, float* out) {
  return SparseChunk(layer, queries, workspace, out).Run(team);
}

}  // namespace kvasir
