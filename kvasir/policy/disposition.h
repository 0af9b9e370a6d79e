// What becomes of a list when some of its tokens go: Disposition, and the gathering it shares.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "kvasir/cache/sequence_cache.h"
#include "kvasir/policy/part.h"

namespace kvasir {

class Rope;  // model/rope.h

// What a list will hold: sealed segments, then a dense tail. Segments may be shared with the old
// list; they are never changed.
struct ListContents {
  std::vector<std::shared_ptr<const Segment>> sealed;
  Tail tail;
};

struct CutInput {
  int layer = 0;
  int kv_head = 0;
  const SegmentList* list = nullptr;
  std::span<const int32_t> kept;     // ascending indices into the list
  std::span<const int32_t> evicted;  // the others that are not settled, ascending; not empty
  std::span<const float> score;      // (n_kv), empty when nothing was scored
  SlabArena* arena = nullptr;
  const Rope* rope = nullptr;  // of the layer, for codecs that store k_raw; may be null
};

class Disposition : public Part {
 public:
  // The list after the cut: n_settled(*state) tokens that the disposition made of evicted ones,
  // such as a compensation token, then the kept ones in order, with their positions. `state`
  // belongs to this (layer, kv head) and starts empty; it is forked with the sequence. Called for
  // different heads from different threads at once.
  virtual Result<ListContents> Cut(const CutInput& input, std::vector<float>* state) const = 0;
  // Leading tokens of the list that earlier cuts left behind: they are outside the budget and not
  // judged again.
  virtual int64_t n_settled(std::span<const float> /*state*/) const { return 0; }
  // Whether there may be such tokens.
  virtual bool settles() const { return false; }
  // Whether kept keys change: a mixture of keys has no position of its own.
  virtual bool changes_keys() const { return false; }
  // Errors: kUnsupported names what the shape has that the part cannot take.
  virtual Status CheckShape(const CacheShape&) const { return Status::Ok(); }
};

// The kept tokens as they are. Whole segments are shared; coded ones are gathered by their format,
// or rebuilt densely where it cannot; what is dense at the end becomes the tail, unless its keys
// are read at other angles than they are stored at. Stored bits of kept dense tokens do not change.
Result<ListContents> GatherKept(const SegmentList& list, std::span<const int32_t> kept,
                                SlabArena& arena);
// Tokens (ascending indices) of the list as f32 rows: k_roped and v, each (tokens.size(),
// head_dim).
Status DecodeTokens(const SegmentList& list, std::span<const int32_t> tokens, float* k, float* v);
// The bias of such tokens, base 2; empty when none has any.
std::vector<float> GatherBias(const SegmentList& list, std::span<const int32_t> tokens);
// A list of these rows alone, as its tail: the last step of merges. `bias` as Tail::Append.
Result<ListContents> MakeContents(const DenseLayout& layout, SlabArena& arena,
                                  std::span<const int32_t> pos, const float* k_roped,
                                  const float* v, std::span<const float> bias = {});

}  // namespace kvasir
