#include "kvasir/cache/segment_list.h"

#include <algorithm>
#include <cassert>

#include "kvasir/core/prefetch.h"

namespace kvasir {
namespace {

constexpr size_t kSegmentBytes = 256;  // about what an object of a segment takes

// The first tokens of a sealed segment that others still hold whole.
class PrefixSegment final : public Segment {
 public:
  PrefixSegment(std::shared_ptr<const Segment> whole, int64_t n)
      : Segment(whole->head_dim()), whole_(std::move(whole)) {
    pos_ = whole_->pos().Slice(0, n);
  }
  const Segment& whole() const { return *whole_; }
  std::string_view format() const override { return whole_->format(); }
  int64_t bytes() const override { return whole_->bytes(); }
  const float* bias() const override { return whole_->bias(); }
  bool tiles_in_place() const override { return whole_->tiles_in_place(); }
  Status Attend(const QueryRows& rows, std::span<const IndexRange> ranges, int lane,
                AttendScratch& scratch, const StateView& states) const override {
    return whole_->Attend(rows, ranges, lane, scratch, states);
  }
  Status VisitWeights(const QueryRows& rows, const RowNorm* norms, int64_t begin, int64_t end,
                      AttendScratch& scratch, const WeightSink& sink) const override {
    return whole_->VisitWeights(rows, norms, begin, end, scratch, sink);
  }
  Status LoadTiles(int64_t first, int n, AttendScratch& scratch, TileRun* run) const override {
    return whole_->LoadTiles(first, n, scratch, run);
  }

 private:
  std::shared_ptr<const Segment> whole_;
};

}  // namespace

const Segment& WholeOf(const Segment& segment) {
  const auto* prefix = dynamic_cast<const PrefixSegment*>(&segment);
  return prefix == nullptr ? segment : WholeOf(prefix->whole());
}

int64_t SegmentList::n_span() const {
  return (n_released_ + n_kv() + kSpanTokens - 1) / kSpanTokens;
}

int64_t SegmentList::bytes() const {
  int64_t bytes = tail_.bytes();
  for (const auto& segment : sealed_) bytes += segment->bytes();
  return bytes;
}

template <typename Visit>
Status SegmentList::ForRange(int64_t begin, int64_t end, const Visit& visit) const {
  int64_t base = 0;
  const auto visit_segment = [&](const Segment& segment) {
    const int64_t from = std::max(begin, base);
    const int64_t to = std::min(end, base + segment.n_kv());
    const int64_t segment_base = base;
    base += segment.n_kv();
    if (from >= to) return Status::Ok();
    return visit(segment, from - segment_base, to - segment_base, from);
  };
  for (const auto& segment : sealed_) {
    if (base >= end) return Status::Ok();
    KVASIR_RETURN_IF_ERROR(visit_segment(*segment));
  }
  return visit_segment(tail_);
}

int32_t SegmentList::pos(int64_t index) const {
  int32_t pos = -1;
  const Status found =
      ForRange(index, index + 1, [&](const Segment& s, int64_t i, int64_t, int64_t) {
        pos = s.pos()[i];
        return Status::Ok();
      });
  assert(found.ok());
  static_cast<void>(found);
  return pos;
}

std::vector<int32_t> SegmentList::AllPositions() const {
  std::vector<int32_t> all;
  all.reserve(static_cast<size_t>(n_kv()));
  const auto add = [&](const Segment& segment) {
    for (int64_t i = 0; i < segment.n_kv(); ++i) all.push_back(segment.pos()[i]);
  };
  for (const auto& segment : sealed_) add(*segment);
  add(tail_);
  return all;
}

Status SegmentList::AttendSpan(const QueryRows& rows, int64_t span, AttendScratch& scratch,
                               const StateView& states) const {
  return AttendRange(rows, std::max<int64_t>(0, span * kSpanTokens - n_released_),
                     std::min(n_kv(), (span + 1) * kSpanTokens - n_released_), scratch, states);
}

size_t SegmentList::SegmentOf(int64_t index) const {
  return static_cast<size_t>(std::ranges::upper_bound(ends_, index) - ends_.begin());
}

// Brings nearer where the tiles of the segment at `at` lie, and the object of the one after it.
void SegmentList::PrefetchFrom(size_t at) const {
  if (at < sealed_.size()) sealed_[at]->Prefetch();
  if (at + 1 < sealed_.size()) PrefetchBytes(sealed_[at + 1].get(), kSegmentBytes);
}

struct SegmentList::Part {
  static constexpr size_t kMaxRanges = 64;  // handed to a segment at once
  size_t at = 0;                            // the segment, as SegmentOf
  size_t n = 0;                             // 0: nothing is left
  IndexRange ranges[kMaxRanges];            // of its tokens
};

// Takes what comes next of `ranges`, of which all before token *from is taken.
void SegmentList::TakePart(std::span<const IndexRange>* ranges, int64_t* from, Part* part) const {
  int64_t base = 0, end = 0;
  part->n = 0;
  while (!ranges->empty() && part->n < Part::kMaxRanges) {
    const int64_t begin = std::max(ranges->front().begin, *from);
    if (begin >= ranges->front().end) {
      *ranges = ranges->subspan(1);
      continue;
    }
    if (part->n == 0) {
      part->at = SegmentOf(begin);
      base = BeginOf(part->at);
      end = base + SegmentAt(part->at).n_kv();
    }
    if (begin >= end) break;
    *from = std::min(ranges->front().end, end);
    part->ranges[part->n++] = {begin - base, *from - base};
  }
}

Status SegmentList::AttendRanges(const QueryRows& rows, std::span<const IndexRange> ranges,
                                 AttendScratch& scratch, const StateView& states) const {
  const HeldQueries held(rows.q, scratch);
  const SumChain chain(states, scratch);
  int64_t from = 0;
  Part parts[2];
  TakePart(&ranges, &from, &parts[0]);
  for (int now = 0; parts[now].n > 0; now = 1 - now) {
    const Part& part = parts[now];
    Part& next = parts[1 - now];
    TakePart(&ranges, &from, &next);
    const bool is_last = next.n == 0;
    // Most likely the next call asks for what follows.
    const IndexRange following = {from, n_kv()};
    std::span<const IndexRange> rest(&following, 1);
    if (is_last) TakePart(&rest, &from, &next);
    if (next.n > 0) {
      if (next.at != part.at) PrefetchFrom(next.at);
      scratch.next = {&SegmentAt(next.at), {next.ranges, next.n}};
    }
    const int lane = static_cast<int>((BeginOf(part.at) + n_released_) % kTileTokens);
    const Status status =
        SegmentAt(part.at).Attend(rows, {part.ranges, part.n}, lane, scratch, states);
    scratch.next = {};
    KVASIR_RETURN_IF_ERROR(status);
    if (is_last) break;
  }
  return Status::Ok();
}

Status SegmentList::Attend(const QueryRows& rows, AttendScratch& scratch,
                           const StateView& states) const {
  const StateView span_state = scratch.span_state(rows.n_row);
  const HeldQueries held(rows.q, scratch);
  for (int64_t span = n_released_ / kSpanTokens; span < n_span(); ++span) {
    ResetStates(span_state);
    KVASIR_RETURN_IF_ERROR(AttendSpan(rows, span, scratch, span_state));
    MergeStates(states, span_state);
  }
  return Status::Ok();
}

Status SegmentList::VisitWeights(const QueryRows& rows, const RowNorm* norms,
                                 AttendScratch& scratch, const WeightSink& sink) const {
  return ForRange(0, n_kv(), [&](const Segment& s, int64_t from, int64_t to, int64_t index) {
    return s.VisitWeights(
        rows, norms, from, to, scratch,
        [&](const float* weights, int stride, int n_row, int64_t first, int n_token) {
          sink(weights, stride, n_row, index + first - from, n_token);
        });
  });
}

Status SegmentList::Decode(int64_t begin, int64_t end, float* k, float* v) const {
  return ForRange(begin, end, [&](const Segment& s, int64_t from, int64_t to, int64_t index) {
    const int64_t offset = (index - begin) * s.head_dim();
    return s.Decode(from, to, k + offset, v + offset);
  });
}

void SegmentList::SealTail(int64_t n) {
  if (n == 0) return;
  sealed_.push_back(tail_.Seal(n));
  ends_.push_back(n_sealed() + n);
}

void SegmentList::SealTailAs(int64_t n, std::shared_ptr<const Segment> encoded) {
  assert(encoded->n_kv() == n);
  tail_.Seal(n);
  sealed_.push_back(std::move(encoded));
  ends_.push_back(n_sealed() + n);
}

void SegmentList::JoinLast(std::shared_ptr<const Segment> joined) {
  assert(sealed_.size() >= 2 &&
         joined->n_kv() == sealed_.back()->n_kv() + sealed_[sealed_.size() - 2]->n_kv());
  sealed_.pop_back();
  sealed_.back() = std::move(joined);
  ends_.erase(ends_.end() - 2);
}

void SegmentList::ReplaceSealed(std::vector<std::shared_ptr<const Segment>> sealed) {
  sealed_ = std::move(sealed);
  Number();
}

void SegmentList::Number() {
  ends_.clear();
  for (const auto& segment : sealed_) ends_.push_back(n_sealed() + segment->n_kv());
}

void SegmentList::Truncate(int32_t pos) {
  tail_.Truncate(tail_.pos().CountBelow(pos));
  while (tail_.n_kv() == 0 && !sealed_.empty()) {
    const int64_t keep = sealed_.back()->pos().CountBelow(pos);
    const int64_t held = sealed_.back()->n_kv();
    if (keep == held) return;
    ends_.back() -= held - keep;
    if (keep > 0) {
      sealed_.back() = std::make_shared<const PrefixSegment>(std::move(sealed_.back()), keep);
      return;
    }
    sealed_.pop_back();
    ends_.pop_back();
  }
}

void SegmentList::ReleaseBefore(int32_t pos) {
  auto keep = sealed_.begin();
  while (keep != sealed_.end() && (*keep)->pos()[(*keep)->n_kv() - 1] < pos) {
    n_released_ += (*keep)->n_kv();
    ++keep;
  }
  sealed_.erase(sealed_.begin(), keep);
  Number();
}

Result<SegmentList> SegmentList::Fork() const {
  KVASIR_ASSIGN_OR_RETURN(Tail tail, tail_.Copy());
  SegmentList fork = SegmentList(std::move(tail));
  fork.sealed_ = sealed_;
  fork.ends_ = ends_;
  fork.n_released_ = n_released_;
  return fork;
}

}  // namespace kvasir
