// Number formats of sealed keys and values. A codec is one file here and one line in codecs.def.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kvasir/cache/coded_segment.h"
#include "kvasir/core/slab_arena.h"
#include "kvasir/status.h"

namespace kvasir {

class Rope;  // model/rope.h

// What an encoder may know of the tokens it is given.
struct CodecInput {
  KvSide side = KvSide::kKey;
  int layer = 0;
  int kv_head = 0;
  int head_dim = 0;
  std::span<const int32_t> pos;  // (n)
  const float* rows = nullptr;   // (n, head_dim) f32; keys are k_roped
  const Rope* rope = nullptr;    // of the layer, for codecs that store k_raw
  // (n) larger = more important; empty unless the codec declares that it reads it.
  std::span<const float> importance;
  // Those of this head's tokens that were encoded before, by KeptTraits; null where there are none.
  std::shared_ptr<const HeadTraits> traits = {};
  SlabArena* arena = nullptr;
};

// When dense tokens of the tail are sealed, per side.
struct TailRule {
  int block = kTileTokens;  // tokens are sealed in multiples of this
  int keep = 0;             // newest tokens that stay dense at least
  int sinks = 0;            // first tokens of the sequence that stay dense for ever
  int first = 0;            // tokens that must be there before the first of a head are sealed
};

// Immutable; safe to share.
class KvCodec {
 public:
  virtual ~KvCodec() = default;
  virtual std::string name() const = 0;  // with parameters: "kivi(2,g=32)"
  virtual TailRule tail(KvSide side) const = 0;
  // All bits stored per element of a sealed block, every overhead counted: what bytes() comes to.
  virtual double bits_per_element(KvSide side, int head_dim) const = 0;
  // Bytes that each head holds once beside them: CodedPart::traits. In bytes() of the part that
  // learnt them, and charged to the ledger as an index.
  virtual int64_t head_bytes(KvSide /*side*/, int /*head_dim*/) const { return 0; }
  // Errors: kUnsupported names a head_dim that the format cannot take.
  virtual Status CheckShape(int head_dim) const = 0;
  virtual bool reads_importance() const { return false; }
  // Whether CodedPart::Gather works, so that tokens may be evicted after sealing.
  virtual bool can_gather(KvSide side) const = 0;
  // Encodes n = pos.size() tokens, a multiple of tail(side).block.
  virtual Result<std::shared_ptr<const CodedPart>> Encode(const CodecInput& input) const = 0;
};

}  // namespace kvasir
