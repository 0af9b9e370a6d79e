// Reading little of a prompt: which held tokens the queries of a chunk attend to.
//
// A prompt is read in blocks of kPrefillBlock positions, whose borders are multiples of it whatever
// the chunks. For each block and query head a mask chooses among the tokens held before the block;
// tokens of the block itself, and those that share a unit with it, are always read, causally.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kvasir/cache/segment_list.h"

namespace kvasir {

inline constexpr int kPrefillBlock = 128;

// Queries of one kv head at the tokens of one block: positions and indices run on without holes.
// Views borrow.
struct PrefillQueries {
  const float* q = nullptr;  // RoPE applied, not scaled
  int64_t token_stride = 0;  // floats from one token's heads to the next one's
  int n_token = 0;           // <= kPrefillBlock
  int n_head = 0;
  int head_dim = 0;
  int32_t pos = 0;       // of the first token
  int64_t index = 0;     // of the first token in its list
  int64_t n_before = 0;  // leading tokens of the list to choose from, a multiple of kPrefillBlock
  float scale = 1.0f;    // multiplies q.k
  float softcap = 0.0f;

  const float* Row(int token, int head) const {
    return q + token * token_stride + int64_t{head} * head_dim;
  }
  // What turns a row into one of QueryRows.
  float RowScale() const { return softcap > 0 ? scale : scale * kLog2E; }
  // Tokens of the list that the newest query sees.
  int64_t end() const { return index + n_token; }
};

// Arrays laid one behind the other in one piece of memory; without memory it only counts.
class PrefillRoom {
 public:
  explicit PrefillRoom(std::byte* memory = nullptr) : memory_(memory) {}
  // Not initialised.
  template <typename T>
  std::span<T> Take(int64_t n) {
    T* const at = memory_ == nullptr ? nullptr : reinterpret_cast<T*>(memory_ + bytes_);
    bytes_ += (n * static_cast<int64_t>(sizeof(T)) + kAlign - 1) / kAlign * kAlign;
    return {at, at == nullptr ? 0 : static_cast<size_t>(n)};
  }
  int64_t bytes() const { return bytes_; }

 private:
  static constexpr int64_t kAlign = 64;
  std::byte* memory_;
  int64_t bytes_ = 0;
};

// What the room of one call depends on.
struct PrefillSize {
  int n_head = 0;
  int head_dim = 0;
  int64_t n_kv = 0;
  int64_t n_tile = 0;  // that hold them: segments may end with a tile that is not full
};

// Immutable; safe to share between sequences and threads.
class PrefillMask {
 public:
  virtual ~PrefillMask() = default;
  // Tokens that are read or left together: whole tiles, a divisor of kPrefillBlock.
  virtual int unit_tokens() const = 0;
  // Bytes of room that Choose takes; grows with every field.
  virtual int64_t RoomBytes(const PrefillSize& size) const = 0;
  // Marks what the queries read of the first n_before tokens, which are not none. The same marks
  // whatever the thread, the instruction set, and the heads asked for together.
  //   chosen  (n_head, n_before / unit_tokens()) zeros; 1 = read
  // Errors: of Segment::LoadTiles.
  virtual Status Choose(const PrefillQueries& queries, const SegmentList& list,
                        AttendScratch& scratch, PrefillRoom room,
                        std::span<uint8_t> chosen) const = 0;
};

// How much of what could be left out was read, in tokens: over blocks and query heads of a prompt,
// over steps and kv heads of what is generated.
struct TokenReads {
  int64_t read = 0;
  int64_t held = 0;
  void Add(int64_t n_read, int64_t n_held) {
    read += n_read;
    held += n_held;
  }
  TokenReads Since(const TokenReads& before) const {
    return {read - before.read, held - before.held};
  }
  // 1 where there was nothing to leave out.
  double share() const {
    return held > 0 ? static_cast<double>(read) / static_cast<double>(held) : 1.0;
  }
};

}  // namespace kvasir
