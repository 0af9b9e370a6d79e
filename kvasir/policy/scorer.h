// Parts that say what a token is worth: Scorer, GroupReducer, Shaper. Scores are f32, larger =
// keep.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "kvasir/cache/sequence_cache.h"
#include "kvasir/policy/part.h"
#include "kvasir/policy/replay_tap.h"
#include "kvasir/policy/signal_tap.h"

namespace kvasir {

// Scores of the held tokens of one (layer, kv head): (n_row, n), where n_row is 1 or the group
// size. Lists are ragged, so n differs from head to head.
struct HeadScores {
  int n_row = 1;
  int64_t n = 0;
  std::vector<float> at;
  std::vector<float> output;  // (n) as KeepCell::output; empty unless asked for

  HeadScores() = default;
  HeadScores(int n_row, int64_t n) : n_row(n_row), n(n), at(static_cast<size_t>(n_row * n)) {}
  std::span<float> row(int r) { return {at.data() + r * n, static_cast<size_t>(n)}; }
  std::span<const float> row(int r) const { return {at.data() + r * n, static_cast<size_t>(n)}; }
};
using LayerScores = std::vector<HeadScores>;  // by kv head

// What a scorer sees of one layer.
struct ScoreContext {
  int layer = 0;
  const SequenceCache* cache = nullptr;
  const SignalTap* tap = nullptr;     // what the declared needs ask for
  int32_t n_pos = 0;                  // positions seen so far
  const ReplayTap* replay = nullptr;  // null unless kNeedReplay

  const CacheShape& shape() const { return cache->shape(); }
  const SegmentList& list(int kv_head) const { return cache->list(layer, kv_head); }
};

class Scorer : public Part {
 public:
  // Query rows that must be kept for window rows; 0 = none.
  virtual int window() const { return 0; }
  // Newest tokens that the score does not judge fairly and that therefore always stay.
  virtual int unjudged_recent() const { return window(); }
  // Whether there is a row per query head (the reducer then merges them) or one per kv head.
  virtual bool per_query_head() const { return false; }
  // Tokens of the prompt that are read again at a time; kNeedReplay only.
  virtual int64_t replay_part() const { return 0; }
  // Whether a score is an amount of attention: never negative, and twice as much is twice as good.
  virtual bool is_share() const { return false; }
  // Whether a token's score depends on the token alone: chunk sizes change nothing.
  virtual bool is_static() const { return false; }
  // Scores all held tokens of one kv head; `scores` has the right size, zeroed. Called for
  // different kv heads from different threads at once.
  virtual Status Score(const ScoreContext& context, int kv_head, AttendScratch& scratch,
                       HeadScores* scores) const = 0;
};

class GroupReducer : public Part {
 public:
  // Makes every head's n_row 1. Errors: kInvalidArgument where heads must hold equally many tokens
  // and do not.
  virtual Status Reduce(LayerScores* scores) const = 0;
  // Whether all kv heads of a layer get the same scores, and so must stay equally long.
  virtual bool joins_heads() const { return false; }
};

class Shaper : public Part {
 public:
  // in and out do not overlap; both (n).
  virtual void Shape(std::span<const float> in, std::span<float> out) const = 0;
};

}  // namespace kvasir
