// A segment: tokens of one (layer, kv head) that can answer attention over themselves. Dense runs,
// quantised blocks, retrieved subsets and compensation tokens are all segments; a cache is a list
// of them (segment_list.h), and their partial states merge exactly.
#pragma once

#include <cassert>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "kvasir/cache/partial_state.h"
#include "kvasir/cache/positions.h"
#include "kvasir/kernels/attend.h"
#include "kvasir/kernels/attend_codes.h"
#include "kvasir/status.h"

namespace kvasir {

// Query rows of one kv head: every query head of its group, for one or many tokens.
struct QueryRows {
  const float* q = nullptr;      // (n_row, head_dim) RoPE applied, times attn_scale, and times
                                 // log2(e) unless softcap > 0
  const int32_t* pos = nullptr;  // (n_row)
  int n_row = 0;
  int head_dim = 0;
  int32_t pos_min = 0, pos_max = 0;  // over the rows
  int32_t window = 0;                // a row at p sees positions in (p - window, p]; 0 = [0, p]
  int32_t sinks = 0;                 // and, whatever the window, positions below this
  float softcap = 0;                 // logit = softcap * tanh(logit / softcap); 0 = none
};

class ChannelRotation;
class Segment;

// Tokens [begin, end) of a segment, or of a list.
struct IndexRange {
  int64_t begin = 0, end = 0;
};

// The tokens whose keys a thread will ask for next; segment null = not known.
struct NextKeys {
  const Segment* segment = nullptr;
  std::span<const IndexRange> ranges;
};

// What the last call has asked for of them: n_tile tiles from token `from` on.
struct AskedKeys {
  const Segment* segment = nullptr;
  int64_t from = 0;
  int n_tile = 0;
};

// Queries that stay as they are for some calls, and what segments have made of them: HeldQueries.
struct QueryForms {
  const float* q = nullptr;                   // null = none
  const ChannelRotation* rotation = nullptr;  // AttendScratch::rotated_q has them in its basis
  const float* rounded = nullptr;  // q or rotated_q, whose integers AttendScratch::rounded has
  int group = 0;                   // channels that share a unit there
};

// Working memory of one thread, for at most kMaxRows rows.
class AttendScratch {
 public:
  static constexpr int kMaxRows = 64;
  static constexpr int kLogitFloats = kMaxRows * 4 * kTileTokens;
  explicit AttendScratch(int head_dim);
  static int64_t Bytes(int head_dim);

  float* logits() { return memory_.data(); }
  float* q() { return memory_.data() + kLogitFloats; }              // (kMaxRows, head_dim)
  float* k_tiles() { return q() + int64_t{kMaxRows} * head_dim_; }  // 4 f32 tiles
  float* v_tiles() { return k_tiles() + int64_t{4} * kTileTokens * head_dim_; }
  float* rotated_q() { return rotated_q_; }  // (kMaxRows, head_dim)
  // Room for kMaxRows queries in any groups.
  RoundedQueries rounded() { return {levels_.data(), units_, level_sums_.data()}; }
  StateView span_state(int n_row) { return MakeStateView(states_, n_row, PaddedDim(head_dim_)); }
  StateView total_state(int n_row) {
    return MakeStateView(states_ + StateFloats(kMaxRows, PaddedDim(head_dim_)), n_row,
                         PaddedDim(head_dim_));
  }
  uint16_t* visible() { return visible_.data(); }
  int32_t* row_pos() { return row_pos_.data(); }
  // What a segment brings nearer during its last step.
  NextKeys next;
  AskedKeys asked;
  QueryForms forms;
  // Of the chain of calls that goes on, if any, by row: the basis that its sums are in, null where
  // it is their own. Unset until some row has one. See SumChain.
  struct {
    const float* acc = nullptr;
    bool any = false;
    const ChannelRotation* of_row[kMaxRows];
  } sums;

 private:
  int head_dim_;
  std::vector<float> memory_;
  float *states_, *rotated_q_, *units_;
  std::vector<std::byte> levels_;
  std::vector<int32_t> level_sums_;
  std::vector<uint16_t> visible_;
  std::vector<int32_t> row_pos_;
};

// While it lives nobody writes over the queries `q`, and what segments have made of them serves
// those that follow. Within another one for the same queries it does nothing.
class HeldQueries {
 public:
  HeldQueries(const float* q, AttendScratch& scratch)
      : forms_(scratch.forms), is_inner_(forms_.q == q) {
    if (!is_inner_) forms_ = {.q = q};
  }
  ~HeldQueries() {
    if (!is_inner_) forms_ = {};
  }
  HeldQueries(const HeldQueries&) = delete;
  HeldQueries& operator=(const HeldQueries&) = delete;

 private:
  QueryForms& forms_;
  const bool is_inner_;
};

// While it lives the sums of `states` stay in the basis of the values that a row saw last; at its
// end they are in their own again. Turning rounds: so it happens where the basis changes, and where
// segments end does not show. Within another one for the same states it does nothing.
class SumChain {
 public:
  SumChain(const StateView& states, AttendScratch& scratch)
      : states_(states), scratch_(scratch), is_inner_(scratch.sums.acc == states.acc) {
    if (is_inner_) return;
    assert(scratch.sums.acc == nullptr);
    scratch.sums.acc = states.acc;
    scratch.sums.any = false;
  }
  ~SumChain() {
    if (!is_inner_) End();
  }
  SumChain(const SumChain&) = delete;
  SumChain& operator=(const SumChain&) = delete;

 private:
  void End();

  const StateView& states_;
  AttendScratch& scratch_;
  const bool is_inner_;
};

// Up to kMaxTiles tiles of a segment, as pointers into it or into scratch. Where
// k_code or v_code is set, that side's tiles are k_codes or v_codes: the codes they are stored in.
struct TileRun {
  static constexpr int kMaxTiles = 32;
  TileFormat k_format = TileFormat::kF16;
  TileFormat v_format = TileFormat::kF16;
  const CodeFormat* k_code = nullptr;
  const CodeFormat* v_code = nullptr;
  const void* k[kMaxTiles];
  const void* v[kMaxTiles];
  CodeTile k_codes[kMaxTiles];
  CodeTile v_codes[kMaxTiles];
};

// How many tiles at the front of `tiles` follow each other.
inline int RunLength(std::span<const int64_t> tiles) {
  size_t n = 1;
  while (n < tiles.size() && tiles[n] == tiles[n - 1] + 1) ++n;
  return static_cast<int>(n);
}

// What a row needs to turn logits into normalised weights: its state after all merges.
struct RowNorm {
  float exponent = 0;  // -inf: the row saw nothing
  float inv_sum = 0;
};

// Receives normalised weights: `weights` is (n_row, n_token), rows `stride` floats apart, for the
// tokens [first, first + n_token) of the segment.
using WeightSink =
    std::function<void(const float* weights, int stride, int n_row, int64_t first, int n_token)>;

// Immutable and shared once sealed; then safe to use from many threads.
class Segment {
 public:
  explicit Segment(int head_dim) : head_dim_(head_dim) {}
  virtual ~Segment() = default;

  int head_dim() const { return head_dim_; }
  int64_t n_kv() const { return pos_.size(); }
  const Positions& pos() const { return pos_; }
  // Name of the number format, as in recipe strings.
  virtual std::string_view format() const = 0;
  // Bytes held by this segment alone: payload, scales, positions, bias.
  virtual int64_t bytes() const = 0;
  // (n_kv) base-2 logit bias per key; null = none.
  virtual const float* bias() const { return nullptr; }

  // Merges the tokens of `ranges`, ascending and disjoint, into `states`, continuing their chains.
  //   lane  index of the segment's first token in its list, modulo 16
  // Tokens that the mask hides add nothing. `states` is unchanged on error.
  virtual Status Attend(const QueryRows& rows, std::span<const IndexRange> ranges, int lane,
                        AttendScratch& scratch, const StateView& states) const;

  // The second pass, after all states have merged: normalised weights of tokens [begin, end).
  virtual Status VisitWeights(const QueryRows& rows, const RowNorm* norms, int64_t begin,
                              int64_t end, AttendScratch& scratch, const WeightSink& sink) const;

  // Points `run` at tiles [first, first + n), n <= 4 where tiles must be rebuilt into scratch and
  // n <= TileRun::kMaxTiles where tiles_in_place().
  virtual Status LoadTiles(int64_t first, int n, AttendScratch& scratch, TileRun* run) const = 0;
  virtual bool tiles_in_place() const { return false; }
  // Brings nearer what says where its tiles lie.
  virtual void Prefetch() const {}
  // The basis in which Attend finds the values; null = their own.
  virtual const ChannelRotation* value_rotation() const { return nullptr; }

  // Rebuilds tokens [begin, end) as f32: k_roped and v, each (end - begin, head_dim).
  Status Decode(int64_t begin, int64_t end, float* k, float* v) const;

 protected:
  // What Attend and VisitWeights may load at once, from a tile on. How tiles are read must not
  // depend on how calls cut them, so a run stays where both sides are read in one way.
  struct AttendLimit {
    int64_t end;         // no run goes from the tile past this one
    bool in_place;       // nothing is rebuilt: runs may be longer
    bool codes = false;  // both sides are read from codes
  };
  virtual AttendLimit AttendLimitFrom(int64_t /*tile*/) const {
    return {INT64_MAX, tiles_in_place()};
  }
  // What they load: LoadTiles, unless a segment answers in another basis or from codes. `tiles`
  // ascend, and follow each other where any of them must be rebuilt.
  virtual Status LoadAttendTiles(std::span<const int64_t> tiles, AttendScratch& scratch,
                                 TileRun* run) const;

  int head_dim_;
  Positions pos_;

 private:
  class TileCursor;
  struct Piece;
  struct Step;
  int KeysOf(std::span<const IndexRange> ranges, int n_tile, AttendScratch& scratch,
             TileRun* run) const;
  void TurnSums(const QueryRows& rows, std::span<const IndexRange> ranges, AttendScratch& scratch,
                const StateView& states) const;
  bool Hides(const QueryRows& rows, const Piece& piece) const;
  bool SeesWhole(const QueryRows& rows, const Piece& piece) const;
  void MarkVisible(const QueryRows& rows, const Piece& piece, uint16_t* visible) const;
  Status NextStep(const QueryRows& rows, int most, AttendScratch& scratch, TileCursor* cursor,
                  Step* step) const;
};

}  // namespace kvasir
