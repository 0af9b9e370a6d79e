// The tokens of one (layer, kv head): sealed segments in order, then the growing tail.
//
// Reduction order. Tokens of a list are numbered; a span is kSpanTokens consecutive numbers. Within
// a span one chain runs over its tokens, whatever segments they lie in (kernels/attend.h); spans
// are merged left to right. Where segments begin and end, how many rows are asked at once and which
// thread takes which span therefore change no bit.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kvasir/cache/dense.h"
#include "kvasir/cache/segment.h"

namespace kvasir {

inline constexpr int64_t kSpanTokens = 1024;

// What a segment reads from: where Truncate left the first tokens of a segment that others may hold
// whole, that one; else the segment itself.
const Segment& WholeOf(const Segment& segment);

// Not thread-safe for writing; const members may be called from many threads.
class SegmentList {
 public:
  SegmentList(const DenseLayout& layout, SlabArena& arena) : tail_(layout, arena) {}

  // Tokens held, and tokens ever released from the front by a sliding window: numbering goes on.
  int64_t n_kv() const { return n_sealed() + tail_.n_kv(); }
  int64_t n_released() const { return n_released_; }
  int64_t n_span() const;
  int64_t bytes() const;
  const Tail& tail() const { return tail_; }
  std::span<const std::shared_ptr<const Segment>> sealed() const { return sealed_; }
  int32_t pos(int64_t index) const;  // of the index-th held token
  std::vector<int32_t> AllPositions() const;

  Status Append(std::span<const int32_t> pos, const float* k_roped, const float* v,
                int64_t stride) {
    return tail_.Append(pos, k_roped, v, stride);
  }

  // Merges the tokens of one span into `states`. Errors as Segment::Attend.
  Status AttendSpan(const QueryRows& rows, int64_t span, AttendScratch& scratch,
                    const StateView& states) const;
  // All spans, left to right, into `states`.
  Status Attend(const QueryRows& rows, AttendScratch& scratch, const StateView& states) const;
  // Held tokens of `ranges`, ascending and disjoint, as one chain, into `states`: what selectors
  // read.
  Status AttendRanges(const QueryRows& rows, std::span<const IndexRange> ranges,
                      AttendScratch& scratch, const StateView& states) const;
  Status AttendRange(const QueryRows& rows, int64_t begin, int64_t end, AttendScratch& scratch,
                     const StateView& states) const {
    const IndexRange range = {begin, end};
    return AttendRanges(rows, {&range, 1}, scratch, states);
  }
  // Normalised weights of every held token; `first` of the sink is an index into the list.
  Status VisitWeights(const QueryRows& rows, const RowNorm* norms, AttendScratch& scratch,
                      const WeightSink& sink) const;
  // Rebuilds held tokens [begin, end) as f32 rows.
  Status Decode(int64_t begin, int64_t end, float* k, float* v) const;

  // Seals the first n tokens of the tail (whole tiles, or all of it) as they are.
  void SealTail(int64_t n);
  // Takes the first n tokens off the tail and puts `encoded`, which holds the same tokens, at the
  // end of the sealed part.
  void SealTailAs(int64_t n, std::shared_ptr<const Segment> encoded);
  // Puts `joined`, which holds the tokens of the last two sealed segments, in their place.
  void JoinLast(std::shared_ptr<const Segment> joined);
  // Replaces all sealed segments; what eviction, merging and re-encoding end with.
  void ReplaceSealed(std::vector<std::shared_ptr<const Segment>> sealed);
  // Replaces everything that is held.
  void Replace(std::vector<std::shared_ptr<const Segment>> sealed, Tail tail) {
    ReplaceSealed(std::move(sealed));
    tail_ = std::move(tail);
  }
  // Forgets every token with a position >= pos.
  void Truncate(int32_t pos);
  // Drops whole sealed segments whose last position is below `pos`.
  void ReleaseBefore(int32_t pos);
  // A second list over the same sealed segments, with a tail of its own.
  Result<SegmentList> Fork() const;

 private:
  explicit SegmentList(Tail tail) : tail_(std::move(tail)) {}
  template <typename Visit>  // Status visit(segment, begin, end, index of begin in the list)
  Status ForRange(int64_t begin, int64_t end, const Visit& visit) const;

  int64_t n_sealed() const { return ends_.empty() ? 0 : ends_.back(); }
  void Number();
  // The segment that holds a token: its place in sealed_, or behind the last for the tail.
  size_t SegmentOf(int64_t index) const;
  const Segment& SegmentAt(size_t at) const { return at < sealed_.size() ? *sealed_[at] : tail_; }
  int64_t BeginOf(size_t at) const { return at == 0 ? 0 : ends_[at - 1]; }
  void PrefetchFrom(size_t at) const;
  struct Part;
  void TakePart(std::span<const IndexRange>* ranges, int64_t* from, Part* part) const;

  std::vector<std::shared_ptr<const Segment>> sealed_;
  std::vector<int64_t> ends_;  // tokens up to and with each sealed segment
  int64_t n_released_ = 0;
  Tail tail_;
};

}  // namespace kvasir
