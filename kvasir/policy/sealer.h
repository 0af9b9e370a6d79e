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
    // Whether what is sealed joins what was sealed just before. Not where tokens are dropped: large
    // segments cost more to cut.
    bool joins = false;

    // The positions whose angles keys [first, first + n) of the list have, stored at `pos`.
    std::vector<int32_t> Angles(int64_t first, const Positions& pos) const;
  };
  // Tokens at the end of the list that may seal: the tail, and before it what renumbering sealed
  // as it was, its keys turned.
  static int64_t OpenTokens(const SegmentList& list);
  // Working memory of one Seal of a list with `n_open` of them: what callers charge.
  static int64_t ScratchBytes(int64_t n_open, int head_dim);
  // Returns the first token whose keys or values are read otherwise than before; n_kv if none are.
  // Errors: of the codecs; the list is whole then.
  Result<int64_t> Seal(const Place& place, SegmentList& list) const;

 private:
  struct Side {
    std::shared_ptr<const KvCodec> codec;  // never null: plain floats where there is none
    bool coded = false;
    TailRule rule;
  };
  enum class Pending { kNone, kKey, kValue };
  std::string Format(Pending pending) const;
  int64_t Ready(const Side& side, int64_t n_token) const;
  struct Run {
    int64_t n_token = 0;
    Pending pending = Pending::kNone;
  };
  struct Traits {
    std::shared_ptr<const HeadTraits> k, v;
  };
  // Whether a side keeps what it learns of a head: CodedPart::traits.
  static bool Learns(const Side& side, KvSide kv_side, int head_dim);
  // Tokens that the next run must have, so that a side can learn of its head what it has not yet.
  int64_t LeastRun(const Side& side, KvSide kv_side, int head_dim, const Traits& traits) const;
  // What may seal of `n_open` dense tokens at the end of a list, from the oldest on.
  std::vector<Run> ReadyRuns(int64_t n_open, int head_dim, const Traits& traits) const;
  // Tokens of the list from `first` on, coded from rows that are rounded once, when they came:
  // keys that turn are turned in f32. Traits that were learnt are added.
  Result<std::shared_ptr<const Segment>> Encoded(const Place& place, const SegmentList& list,
                                                 int64_t first, const Run& run,
                                                 Traits* traits) const;
  // Makes one of the last two sealed segments while the newer is no smaller and nobody else holds
  // them: scans pay for each segment, and single blocks would never end.
  static void JoinNewest(SegmentList& list);
  // Puts `made` in the place of the tokens [begin, end), of which renumbering had sealed some.
  Status Splice(const Place& place, int64_t begin, int64_t end,
                std::vector<std::shared_ptr<const Segment>> made, SegmentList& list) const;
  // Whether keys and values may leave the tail at different times.
  bool Parts() const { return k_.coded && v_.coded && k_.rule.keep != v_.rule.keep; }
  // Codes the dense side of segments that have waited long enough; the first token that changed.
  Result<int64_t> Complete(const Place& place, Traits* traits, SegmentList& list) const;
  Result<std::shared_ptr<const CodedPart>> Encode(const Place& place, KvSide kv_side,
                                                  const KvCodec& codec, int head_dim,
                                                  std::span<const int32_t> pos, const float* rows,
                                                  int64_t first, Traits* traits) const;

  Side k_, v_;
  int64_t block_ = kTileTokens;  // what both sides can seal
  int64_t sinks_ = 0;            // whole tiles
};

}  // namespace kvasir
