// Sealed tokens whose keys and values are encoded, each by a format of its own: any pair at any
// layer. codecs/codec.h says how parts are made.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kvasir/cache/segment.h"
#include "kvasir/core/prefetch.h"

namespace kvasir {

enum class KvSide : uint8_t { kKey, kValue };

// An orthogonal change of channels that a format applies to rows before it encodes them.
class ChannelRotation {
 public:
  virtual ~ChannelRotation() = default;
  virtual void Forward(float* row) const = 0;   // row (head_dim), in place
  virtual void Backward(float* row) const = 0;  // its inverse
  // Whether it does the same to every row; false where that is not known.
  virtual bool SameAs(const ChannelRotation& other) const { return this == &other; }
};

// What a format learns of a head's keys or values from the first tokens that it encodes, and holds
// on to for those that follow. Immutable; shared by their parts.
class HeadTraits {
 public:
  virtual ~HeadTraits() = default;
  virtual int64_t bytes() const = 0;
};

// The encoded keys, or values, of a run of tokens of one (layer, kv head). Immutable; safe to
// share.
class CodedPart {
 public:
  virtual ~CodedPart() = default;
  virtual int64_t n_token() const = 0;
  // All bytes that belong to these tokens: codes, scales, outliers, indices; and traits() where
  // they were learnt from these.
  virtual int64_t bytes() const = 0;
  // null = none
  virtual std::shared_ptr<const HeadTraits> traits() const { return nullptr; }
  // Points tiles[i] at tile first + i, i < n: where it lies, if it can be read in place, else
  // rebuilt as f32 in `scratch`, which holds n tiles. Keys are k_roped, channel-major
  // (head_dim, 16); values are token-major (16, PaddedDim); unused slots are zero.
  virtual Status LoadTiles(int64_t first, int n, float* scratch, TileFormat* format,
                           const void** tiles) const = 0;
  // The rotation that the stored rows, and the tiles of LoadRotatedTiles, are under; null = none.
  // Attention need not undo it token by token: rotated queries against rotated keys give the same
  // logits, and a sum of rotated values is turned back once.
  virtual const ChannelRotation* rotation() const { return nullptr; }
  virtual Status LoadRotatedTiles(int64_t first, int n, float* scratch, TileFormat* format,
                                  const void** tiles) const {
    return LoadTiles(first, n, scratch, format, tiles);
  }
  // Attention on the codes, in the basis of rotation(): what the first n_code_tile() tiles have in
  // common, and where some of them lie. null and 0: tiles are loaded.
  virtual const CodeFormat* code_format() const { return nullptr; }
  virtual int64_t n_code_tile() const { return 0; }
  virtual void CodeTiles(std::span<const int64_t> /*tiles*/, CodeTile* /*at*/) const {}
  // Whether LoadTiles never touches scratch, so that more than 4 tiles may be asked for.
  virtual bool in_place() const { return false; }
  // The same codes for the tokens `keep` (ascending indices) alone. kUnsupported where tokens are
  // encoded together, so that dropping one would free nothing.
  virtual Result<std::shared_ptr<const CodedPart>> Gather(std::span<const int32_t> keep) const;
  // These tokens and then those of `next`, of the same codec, head and side, as one part that holds
  // the same codes; null where they do not go together. Errors: kOutOfMemory.
  virtual Result<std::shared_ptr<const CodedPart>> Join(const CodedPart& /*next*/) const {
    return std::shared_ptr<const CodedPart>();
  }
};

// Two parts with the same tokens.
class CodedSegment : public Segment {
 public:
  // `format` names the pair, "kivi(2)/f16"; `bias` is empty or (n) base-2 logit biases.
  CodedSegment(int head_dim, Positions pos, std::string format, std::shared_ptr<const CodedPart> k,
               std::shared_ptr<const CodedPart> v, std::vector<float> bias = {});

  std::string_view format() const override { return format_; }
  int64_t bytes() const override;
  const float* bias() const override { return bias_.empty() ? nullptr : bias_.data(); }
  bool tiles_in_place() const override { return k_->in_place() && v_->in_place(); }
  void Prefetch() const override {
    PrefetchBytes(k_.get(), kPartBytes);
    PrefetchBytes(v_.get(), kPartBytes);
  }
  const ChannelRotation* value_rotation() const override { return v_->rotation(); }
  Status LoadTiles(int64_t first, int n, AttendScratch& scratch, TileRun* run) const override;
  // Work on rotated tiles as they are: queries are rotated, and so are, there and back, the sums of
  // the rows that see any of the tokens; once for a chain of calls (HeldQueries, SumChain).
  Status Attend(const QueryRows& rows, std::span<const IndexRange> ranges, int lane,
                AttendScratch& scratch, const StateView& states) const override;
  Status VisitWeights(const QueryRows& rows, const RowNorm* norms, int64_t begin, int64_t end,
                      AttendScratch& scratch, const WeightSink& sink) const override;

  const std::shared_ptr<const CodedPart>& k() const { return k_; }
  const std::shared_ptr<const CodedPart>& v() const { return v_; }

 protected:
  AttendLimit AttendLimitFrom(int64_t tile) const override;
  Status LoadAttendTiles(std::span<const int64_t> tiles, AttendScratch& scratch,
                         TileRun* run) const override;

 private:
  static constexpr size_t kPartBytes = 640;  // about what an object of a part takes

  std::string format_;
  std::shared_ptr<const CodedPart> k_, v_;
  std::vector<float> bias_;  // padded to whole tiles
};

}  // namespace kvasir
