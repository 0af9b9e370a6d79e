#include "kvasir/policy/renumber.h"

#include <algorithm>
#include <utility>

#include "kvasir/codecs/reposition.h"

namespace kvasir {
namespace {

// Positions that a table must cover for what a list has turned so far, and for `n` more.
int32_t Reach(const SegmentList& list, int32_t n) {
  for (const auto& segment : list.sealed()) {
    const auto* turned = dynamic_cast<const TurnedSegment*>(segment.get());
    if (turned != nullptr) n = std::max(n, turned->table()->n_pos() - 1);
  }
  return n;
}

}  // namespace

Result<Renumbering> Renumbering::Prepare(const SequenceCache& cache,
                                         const std::function<const Rope*(int layer)>& rope) {
  const CacheShape& shape = cache.shape();
  Renumbering plan;
  plan.ledger_ = &cache.arena().ledger();
  plan.n_kv_head_ = shape.n_kv_head;
  plan.end_before_ = cache.next_angle();
  plan.lists_.resize(static_cast<size_t>(shape.n_layer) * shape.n_kv_head);
  for (int layer = 0; layer < shape.n_layer; ++layer) {
    if (shape.window[layer] > 0) continue;
    if (!rope) return Status::InvalidArgument("position=renumber: keys have no angles to change");
    for (int kv_head = 0; kv_head < shape.n_kv_head; ++kv_head) {
      const SegmentList& held = cache.list(layer, kv_head);
      List& list = plan.lists_[static_cast<size_t>(layer) * shape.n_kv_head + kv_head];
      list.rope = rope(layer);
      list.n_before = held.n_kv();
      KVASIR_ASSIGN_OR_RETURN(
          list.table, GetRopeTable(*list.rope, Reach(held, plan.end_before_), *plan.ledger_));
    }
  }
  return plan;
}

void Renumbering::Cut(int layer, int kv_head, std::span<const int32_t> kept) {
  List& list = lists_[static_cast<size_t>(layer) * n_kv_head_ + kv_head];
  list.cut = true;
  list.kept.assign(kept.begin(), kept.end());
}

Status Renumbering::Turn(const List& change, SegmentList& list) const {
  const int64_t n = list.n_kv(), first_before = end_before_ - change.n_before;
  std::vector<int32_t> turn(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) {
    const int64_t before = first_before + (change.cut ? change.kept[i] : i);
    turn[i] = static_cast<int32_t>(end_ - n + i - before);
  }
  if (std::ranges::all_of(turn, [](int32_t t) { return t == 0; })) return Status::Ok();
  list.SealTail(list.tail().n_kv());
  const Repositioner reposition(*change.rope, *ledger_);
  std::vector<std::shared_ptr<const Segment>> sealed;
  size_t first = 0;
  for (const auto& segment : list.sealed()) {
    const auto n_token = static_cast<size_t>(segment->n_kv());
    KVASIR_ASSIGN_OR_RETURN(
        sealed.emplace_back(),
        reposition.Turn(segment, std::span<const int32_t>(turn).subspan(first, n_token)));
    first += n_token;
  }
  list.ReplaceSealed(std::move(sealed));
  return Status::Ok();
}

Result<int32_t> Renumbering::Apply(ThreadTeam& team, SequenceCache& cache) && {
  int64_t longest = 0;
  const auto list = [&](size_t i) -> SegmentList& {
    return cache.list(static_cast<int>(i) / n_kv_head_, static_cast<int>(i) % n_kv_head_);
  };
  for (size_t i = 0; i < lists_.size(); ++i) {
    if (lists_[i].rope != nullptr) longest = std::max(longest, list(i).n_kv());
  }
  end_ = static_cast<int32_t>(longest);
  const int32_t moved = end_ - end_before_;
  std::vector<Status> status(lists_.size());
  team.Run(static_cast<int64_t>(lists_.size()), [&](int64_t i, int) {
    if (lists_[i].rope != nullptr) status[i] = Turn(lists_[i], list(i));
  });
  cache.set_angle_offset(cache.angle_offset() + moved);
  for (Status& s : status) KVASIR_RETURN_IF_ERROR(std::move(s));
  return moved;
}

}  // namespace kvasir
