// Tokens that change positions: how every number format does it, without being touched.
//
// Rotations compose. A key that RoPE put at position a is the key of position b once it is turned
// by the angles of b - a, whatever scaled its frequencies, and so is every k_roped that a format
// gives back, be it coded, rotated by a Hadamard matrix or stored as k_raw. What is stored stays as
// it is, shared with whoever else holds it, and loses nothing: the turn is pending and is made when
// the tokens are read. Where all tokens of a segment turn alike, attention turns its queries back
// instead: n_rot multiplications a query row, and codes are read as they lie. Where they do not,
// each key is turned as it is loaded: 2 n_rot multiply-adds a token, plus the tile in f32.
//
// Exact up to the rounding of f32: 4e-7 of a key's length per read, independent of how often it
// moved. Encoding anew at the new position gives other codes of the same quality instead.
#pragma once

#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "kvasir/cache/segment.h"
#include "kvasir/codecs/rope_table.h"

namespace kvasir {

// A segment whose keys are read at other angles than they are stored at.
class TurnedSegment final : public Segment {
 public:
  //   turn  positions by which each key turns: (1), for all alike, or (n_kv)
  TurnedSegment(std::shared_ptr<const Segment> stored, Positions pos, std::vector<int32_t> turn,
                std::shared_ptr<const RopeTable> table);

  // What is turned: tokens in the same order, their keys at stored angles.
  const std::shared_ptr<const Segment>& stored() const { return stored_; }
  const std::shared_ptr<const RopeTable>& table() const { return table_; }
  int32_t turn(int64_t token) const { return turn_.size() == 1 ? turn_[0] : turn_[token]; }

  std::string_view format() const override { return stored_->format(); }
  int64_t bytes() const override;
  const float* bias() const override { return stored_->bias(); }
  Status Attend(const QueryRows& rows, std::span<const IndexRange> ranges, int lane,
                AttendScratch& scratch, const StateView& states) const override;
  Status VisitWeights(const QueryRows& rows, const RowNorm* norms, int64_t begin, int64_t end,
                      AttendScratch& scratch, const WeightSink& sink) const override;
  Status LoadTiles(int64_t first, int n, AttendScratch& scratch, TileRun* run) const override;

 private:
  std::shared_ptr<const Segment> stored_;
  std::vector<int32_t> turn_;
  std::shared_ptr<const RopeTable> table_;
  bool even_ = false;  // queries may be turned instead of keys
  int32_t shift_ = 0;  // from stored positions to these, where even_
};

// Moves the tokens of one kind of layer. Results share what they are made of; moving back gives the
// same segment again, and moving twice is moving once by the sum. Thread-safe.
class Repositioner {
 public:
  // Both must outlive the segments.
  Repositioner(const Rope& rope, ByteLedger& ledger) : rope_(&rope), ledger_(&ledger) {}

  // The tokens `by` positions further on, or back. Errors: kInvalidArgument where a position would
  // pass below 0 or beyond int32_t; kOutOfMemory.
  Result<std::shared_ptr<const Segment>> Shift(std::shared_ptr<const Segment> segment,
                                               int32_t by) const;
  // The tokens at positions `pos` (n_kv), ascending from 0 or more. Errors: kInvalidArgument where
  // they are not; kOutOfMemory.
  Result<std::shared_ptr<const Segment>> Renumber(std::shared_ptr<const Segment> segment,
                                                  std::span<const int32_t> pos) const;
  // The tokens where they are, each key turned by a number of positions: masks go by position,
  // logits by angle.
  //   turn  (n_kv). Errors: kOutOfMemory.
  Result<std::shared_ptr<const Segment>> Turn(std::shared_ptr<const Segment> segment,
                                              std::span<const int32_t> turn) const;

 private:
  Result<std::shared_ptr<const Segment>> Make(std::shared_ptr<const Segment> segment, Positions pos,
                                              std::vector<int32_t> turn) const;

  const Rope* rope_;
  ByteLedger* ledger_;
};

}  // namespace kvasir
