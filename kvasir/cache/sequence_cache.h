// The KV cache of one sequence: a segment list per (layer, kv head).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kvasir/cache/prefill_mask.h"
#include "kvasir/cache/segment_list.h"
#include "kvasir/cache/selector.h"
#include "kvasir/core/byte_ledger.h"
#include "kvasir/core/slab_arena.h"
#include "kvasir/core/thread_team.h"
#include "kvasir/status.h"

namespace kvasir {

// What the cache must know of a model.
struct CacheShape {
  int n_layer = 0;
  int n_head = 0;
  int n_kv_head = 0;
  int head_dim = 0;
  std::vector<int32_t> window;  // per layer; 0 = full. Tokens out of every window are released

  int group() const { return n_head / n_kv_head; }
};

// What a streaming head sees: the first tokens of the sequence and the newest.
struct HeadWindow {
  int32_t sinks = 0;   // positions below this
  int32_t recent = 0;  // a query at p sees positions > p - recent; 0 = no limit
};

// One layer's queries. Views borrow.
struct LayerQueries {
  const float* q = nullptr;      // (n_token, n_head, head_dim), RoPE applied, not scaled
  std::span<const int32_t> pos;  // (n_token) ascending
  float scale = 1.0f;            // multiplies q.k
  float softcap = 0.0f;
  // (n_token, n_head) receives what VisitWeights needs; null = not wanted.
  RowNorm* norms = nullptr;
  // Of so many of the newest tokens at least.
  int n_norm = INT32_MAX;
};

// Scratch that attention of any sequence of one shape needs, one set per thread.
class AttendWorkspace {
 public:
  static Result<std::unique_ptr<AttendWorkspace>> Create(const CacheShape& shape, int n_thread,
                                                         ByteLedger& ledger);
  AttendScratch& thread(int i) { return *threads_[i]; }
  // A list of a thread's own, empty; its room is kept between calls.
  std::vector<IndexRange>& ranges(int i) {
    ranges_[i].clear();
    return ranges_[i];
  }
  // At least n floats, kept between calls. Errors: kOutOfMemory.
  Result<float*> States(int64_t n);
  // At least `bytes` for every thread, in which a PrefillMask chooses; kept between calls. Errors:
  // kOutOfMemory.
  Status ReservePrefill(int64_t bytes);
  std::byte* prefill(int i) { return prefill_.data() + i * prefill_bytes_; }
  TokenReads& prefill_reads(int i) { return reads_[i].prefill; }  // of a thread
  TokenReads& step_reads(int i) { return reads_[i].steps; }
  // What masks, and selectors, have chosen so far, in all sequences.
  TokenReads prefill_reads() const;
  TokenReads step_reads() const;

 private:
  explicit AttendWorkspace(ByteLedger& ledger) : ledger_(ledger) {}
  ByteLedger& ledger_;
  std::vector<std::unique_ptr<AttendScratch>> threads_;
  std::vector<std::vector<IndexRange>> ranges_;
  ByteCharge charge_, states_charge_, prefill_charge_;
  std::vector<float> states_;
  std::vector<std::byte> prefill_;  // prefill_bytes_ a thread
  int64_t prefill_bytes_ = 0;
  struct Reads {
    TokenReads prefill, steps;
  };
  TokenReads Sum(TokenReads Reads::*of) const;
  std::vector<Reads> reads_;  // by thread
};

// One writer at a time. The arena must outlive it.
class SequenceCache {
 public:
  SequenceCache(const CacheShape& shape, TileFormat k_format, TileFormat v_format,
                SlabArena& arena);

  const CacheShape& shape() const { return shape_; }
  SegmentList& list(int layer, int kv_head) { return lists_[layer * shape_.n_kv_head + kv_head]; }
  const SegmentList& list(int layer, int kv_head) const {
    return lists_[layer * shape_.n_kv_head + kv_head];
  }
  // Restricts what single-token steps read; null = everything. Must be in step with the lists.
  void set_selector(std::unique_ptr<Selector> selector) { selector_ = std::move(selector); }
  Selector* selector() { return selector_.get(); }
  // Restricts what chunks of several tokens read in layers without a window; null = everything.
  void set_prefill_mask(std::shared_ptr<const PrefillMask> mask) {
    prefill_mask_ = std::move(mask);
  }
  const std::shared_ptr<const PrefillMask>& prefill_mask() const { return prefill_mask_; }
  // Narrows what queries of a kv head see; tokens stay held until they are evicted.
  void set_head_window(int layer, int kv_head, HeadWindow window);
  // Position the next token takes: the sequence's true length, whatever is held.
  int32_t n_pos() const { return n_pos_; }
  // Masks go by position. RoPE turns a token at p, in layers without a window, by the angle of
  // p + angle_offset(): below 0 where kept tokens were numbered anew. 0 again after Truncate(0).
  int32_t angle_offset() const { return angle_offset_; }
  void set_angle_offset(int32_t offset) { angle_offset_ = offset; }
  int32_t next_angle() const { return n_pos_ + angle_offset_; }
  int64_t bytes() const;
  SlabArena& arena() const { return arena_; }

  // Appends one layer's tokens.
  //   k_roped, v (n_token, n_kv_head, head_dim)
  // Errors: kOutOfMemory; call Truncate(n_pos()) to forget what other layers and heads took.
  Status Append(int layer, std::span<const int32_t> pos, const float* k_roped, const float* v,
                ThreadTeam& team);
  // Marks positions below `n_pos` as complete in all layers, and releases what no window needs.
  void Advance(int32_t n_pos);

  // out (n_token, n_head, head_dim). The same bits for any thread count and any way of dividing the
  // tokens into calls; with a prefill mask, any way of dividing them at multiples of kPrefillBlock.
  Status Attend(int layer, const LayerQueries& queries, ThreadTeam& team,
                AttendWorkspace& workspace, float* out) const;
  // Second pass for the query heads of one kv head at tokens [first, first + n) of the queries,
  // n * group <= AttendScratch::kMaxRows: normalised weights of every held token. Rows are (token,
  // head of the group). `queries.norms` must be set.
  Status VisitWeights(int layer, int kv_head, const LayerQueries& queries, int first, int n,
                      AttendScratch& scratch, const WeightSink& sink) const;

  // The longest prefix that can be rewound to: layers with windows have let older tokens go.
  // Truncate(pos) is valid for pos in [rewind_floor(), n_pos()], and for 0.
  int32_t rewind_floor() const;
  // Forgets positions >= pos. Errors: kInvalidArgument below rewind_floor(), save for 0.
  Status Truncate(int32_t pos);
  // Shares sealed segments; copies the tails.
  Result<std::unique_ptr<SequenceCache>> Fork() const;

 private:
  struct RowBlock;
  RowBlock Gather(int layer, const LayerQueries& queries, int kv_head, int first_token, int n_token,
                  AttendScratch& scratch) const;
  Status AttendSelected(int layer, const LayerQueries& queries, ThreadTeam& team,
                        AttendWorkspace& workspace, float* out) const;
  void Finish(const RowBlock& block, const LayerQueries& queries, const StateView& states,
              float* out) const;

  CacheShape shape_;
  SlabArena& arena_;
  std::vector<SegmentList> lists_;
  std::vector<HeadWindow> head_windows_;  // by (layer, kv head); empty = none
  std::unique_ptr<Selector> selector_;
  std::shared_ptr<const PrefillMask> prefill_mask_;
  int32_t n_pos_ = 0;
  int32_t angle_offset_ = 0;
};

}  // namespace kvasir
