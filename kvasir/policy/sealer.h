// Turns dense tokens at the end of a list into coded ones, when their codecs say so.
#pragma once

#include <memory>
#include <optional>

#include "kvasir/cache/segment_list.h"
#include "kvasir/codecs/codec.h"

namespace kvasir {

// Keys and values may leave the dense tail at different times. What only one side may give up
// becomes segments whose other side is dense, one block each, and those are completed when the
// other side's rule allows. Immutable.
class Sealer {
 public:
  // A null codec leaves its side dense for ever.
  Sealer(std::shared_ptr<const KvCodec> k, std::shared_ptr<const KvCodec> v);

  struct Place {
    int layer = 0;
    int kv_head = 0;
    const Rope* rope = nullptr;
    SlabArena* arena = nullptr;
    std::span<const float> importance;  // of the list's tokens, or empty
    // Of the list's first token, where angles were numbered anew; none: angles are positions.
    std::optional<int32_t> first_angle;

    // The positions whose angles keys [first, first + n) of the list have, stored at `pos`.
    std::vector<int32_t> Angles(int64_t first, const Positions& pos) const;
  };
  // Working memory of one Seal of a list with `n_tail` dense tokens: what callers charge.
  static int64_t ScratchBytes(int64_t n_tail, int head_dim);
  // Errors: of the codecs; the list is whole then.
  Status Seal(const Place& place, SegmentList& list) const;

 private:
  struct Side {
    std::shared_ptr<const KvCodec> codec;  // never null: plain floats where there is none
    bool coded = false;
    TailRule rule;
  };
  enum class Pending { kNone, kKey, kValue };
  std::string Format(Pending pending) const;
  int64_t Ready(const Side& side, int64_t n_token) const;
  // Makes dense tokens before the tail, which renumbering sealed, part of it again.
  Status Reopen(const Place& place, int64_t n, SegmentList& list) const;
  Status Complete(const Place& place, SegmentList& list) const;
  Status SealBlocks(const Place& place, int64_t n, Pending pending, SegmentList& list) const;
  Result<std::shared_ptr<const CodedPart>> Encode(const Place& place, KvSide kv_side,
                                                  const KvCodec& codec, int head_dim,
                                                  std::span<const int32_t> pos, const float* rows,
                                                  int64_t first) const;

  Side k_, v_;
  int64_t block_ = kTileTokens;  // what both sides can seal
  int64_t sinks_ = 0;            // whole tiles
};

}  // namespace kvasir
