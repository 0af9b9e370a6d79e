// Smallest and largest key per channel in int8, over pages of 16 tokens and super-pages of 256.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kvasir/cache/segment.h"
#include "kvasir/kernels/page_score.h"
#include "kvasir/policy/selectors/charged_array.h"
#include "kvasir/policy/selectors/head_index.h"

namespace kvasir {

// Bounds of one (layer, kv head). The largest keys are rounded up and the smallest down, to
// multiples of one power of two per channel, so that
//  - they bound the keys as f32 and as f16 alike, being exact in f16 themselves;
//  - when a larger key calls for a larger step, halving what is stored, rounded outward, gives the
//    same bounds as starting anew from the keys.
// Steps never shrink before the list is empty again.
class ByteBounds {
 public:
  enum Level { kPage, kSuper };

  ByteBounds(int head_dim, SlabArena* arena);

  int64_t n_kv() const { return n_kv_; }
  int64_t n_unit(Level level) const { return UnitsOf(level, n_kv_); }
  static int64_t unit_tokens(Level level) { return level == kPage ? kPageTokens : kSuperTokens; }
  static constexpr int64_t kSuperPages = kScorePages;  // a super-page is one tile of pages
  static constexpr int64_t kSuperTokens = kSuperPages * kPageTokens;
  int64_t bytes() const;

  Status Append(int64_t n, const float* k, int64_t stride);
  void Truncate(int64_t n);
  Result<ByteBounds> Copy() const;

  // Splits and rounds the rows' queries, with the channels' steps folded in.
  //   q      (n_row, ScoreQueryBytes)
  //   steps  (n_row) what one unit of a row's integer score is worth
  void Prepare(const QueryRows& rows, uint8_t* q, float* steps) const;
  // scores[r * stride + 16 * i + p] >= q_r . k for all keys of unit 16 * tiles[i] + p, up to f32
  // rounding: the rounding of the query, half a step a channel at most, is counted in.
  void Score(Level level, const uint8_t* q, const float* steps, int n_row,
             std::span<const int32_t> tiles, float* scores, int64_t stride) const;
  // The same for one unit and one query, exact to f64.
  double Bound(Level level, int64_t unit, const float* q) const;
  // At least sum_c |q_c k_c| for every key ever held, by row.
  std::vector<double> Magnitudes(const QueryRows& rows) const;

 private:
  static constexpr int kMinOffset = kScorePages * 4;
  struct Units {
    explicit Units(SlabArena* arena)
        : tiles(arena, ByteKind::kIndex), size(arena, ByteKind::kIndex) {}
    ChargedArray<int8_t> tiles;
    ChargedArray<uint16_t> size;  // by unit: sum_c max(|kmax_c|, |kmin_c|)
  };
  static int64_t UnitsOf(Level level, int64_t n_kv) {
    return (n_kv + unit_tokens(level) - 1) / unit_tokens(level);
  }
  Units& Of(Level level) { return level == kPage ? pages_ : supers_; }
  const Units& Of(Level level) const { return level == kPage ? pages_ : supers_; }
  // Of the largest key; the smallest is kMinOffset further.
  int64_t Offset(int64_t unit, int channel) const {
    return unit / kScorePages * ScoreTileBytes(n_quad()) + channel / 4 * 2 * kMinOffset +
           unit % kScorePages * 4 + channel % 4;
  }
  int n_quad() const { return ScoreQuads(head_dim_); }
  Status Resize(int64_t n_kv);
  void RaiseSteps(int64_t n, const float* k, int64_t stride);
  void FoldPage(int64_t page, bool fresh, int64_t n, const float* k, int64_t stride);
  void FoldSuper(int64_t super, int64_t first);
  void Measure(Level level, int64_t unit);
  void MeasureTile(Level level, int64_t first);

  int head_dim_;
  int64_t n_kv_ = 0;
  ChargedArray<int32_t> exponent_;  // (head_dim) log2 of the step
  Units pages_, supers_;
};

}  // namespace kvasir
