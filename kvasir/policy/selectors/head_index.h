// What the selectors share: summaries of one (layer, kv head), the choice made from them, and the
// Selector that keeps one of each per pair.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "kvasir/cache/selector.h"
#include "kvasir/policy/selectors/charged_array.h"
#include "kvasir/policy/selectors/registry.h"

namespace kvasir {

inline constexpr int kPageTokens = 16;

// What a step attends to.
struct PageChoice {
  std::vector<IndexRange> ranges;  // ascending, disjoint, not touching; the newest token is in
  std::vector<int32_t> opened;     // units of a coarse level that were looked into, ascending
};

// Working memory of one selection.
struct SelectScratch {
  explicit SelectScratch(SlabArena* arena)
      : q(arena, ByteKind::kScratch),
        q8(arena, ByteKind::kScratch),
        scores(arena, ByteKind::kScratch),
        reduced(arena, ByteKind::kScratch),
        coarse(arena, ByteKind::kScratch),
        chosen(arena, ByteKind::kScratch) {}
  ChargedArray<float> q;
  ChargedArray<uint8_t> q8;
  ChargedArray<float> scores, reduced;
  ChargedArray<int32_t> coarse;
  ChargedArray<uint8_t> chosen;
};

// Lower bounds of the attended mass share, from upper bounds of everything that was skipped: if l
// is the attended sum of weights 2^x and skipped token j has x_j <= B_j, the share is at least
// l / (l + sum_j 2^B_j). All in f64, with allowance for the rounding of the attended logits.
class MassCertificate {
 public:
  // `attended` was added up in f32 over at most n_kv tokens, each with an absolute dot product,
  // sum_c |q_c k_c|, of at most magnitude[row].
  MassCertificate(const QueryRows& rows, const StateView& attended, int64_t n_kv,
                  std::span<const double> magnitude);
  // `n_token` tokens were skipped whose dot products with row `row` are at most `dot`, and whose
  // bias is at most `bias`. A bound that is not a number bounds nothing.
  void Skip(int row, int64_t n_token, double dot, double bias);
  std::vector<float> Shares() const;

 private:
  const QueryRows& rows_;
  std::vector<double> attended_, skipped_;  // weights relative to the row's exponent
  std::vector<double> exponent_;
};

// Summaries of one (layer, kv head). Used by one thread at a time.
class HeadIndex {
 public:
  virtual ~HeadIndex() = default;

  int64_t n_kv() const { return n_kv_; }
  // Tokens [n_kv(), n_kv() + n); rows `stride` floats apart. Errors: kOutOfMemory; then nothing
  // changed.
  virtual Status Append(int64_t n, const float* k, int64_t stride) = 0;
  virtual void Truncate(int64_t n) = 0;
  // At least the logit bias of every key, by page, not below 0; keys appended later have none.
  virtual Status SetPageBias(std::span<const float> bias) = 0;

  // False for all tokens.
  virtual Result<bool> Choose(const QueryRows& rows, SelectScratch& scratch,
                              PageChoice* choice) const = 0;
  // The shares that `choice` certainly attends; empty when the summaries bound nothing.
  virtual std::vector<float> Certify(const PageChoice& choice, const QueryRows& rows,
                                     const StateView& attended) const = 0;

  virtual int64_t bytes() const = 0;
  virtual Result<std::unique_ptr<HeadIndex>> Copy() const = 0;

 protected:
  int64_t n_kv_ = 0;
};

// A Selector made of head indices; pairs without one are read densely. A choice serves `reuse`
// selections; tokens appended meanwhile are attended too.
class PagedSelector final : public Selector {
 public:
  // `indices` (n_layer * n_kv_head), null = dense.
  PagedSelector(const SelectorShape& shape, int reuse,
                std::vector<std::unique_ptr<HeadIndex>> indices);

  Status OnAppend(int layer, int kv_head, int64_t first, int64_t n, const float* k_roped,
                  int64_t stride) override;
  void OnTruncate(int layer, int kv_head, int64_t n) override;
  Status Rebuild(int layer, int kv_head, const SegmentList& list) override;
  Result<bool> Select(int layer, int kv_head, const QueryRows& rows, const SegmentList& list,
                      std::vector<IndexRange>* ranges) override;
  std::vector<float> Certify(int layer, int kv_head, const QueryRows& rows,
                             const StateView& attended) const override;
  int64_t bytes() const override;
  Result<std::unique_ptr<Selector>> Fork() const override;

  const HeadIndex* index(int layer, int kv_head) const { return At(layer, kv_head).index.get(); }

 private:
  struct Pair {
    std::unique_ptr<HeadIndex> index;
    PageChoice choice;
    bool all = true;  // the last selection was everything
    int n_left = 0;   // selections that may still reuse `choice`
  };
  Pair& At(int layer, int kv_head) { return pairs_[Slot(layer, kv_head)]; }
  const Pair& At(int layer, int kv_head) const { return pairs_[Slot(layer, kv_head)]; }
  size_t Slot(int layer, int kv_head) const {
    return static_cast<size_t>(layer * shape_.n_kv_head + kv_head);
  }
  std::unique_ptr<SelectScratch> Lease();
  void Return(std::unique_ptr<SelectScratch> scratch);

  SelectorShape shape_;
  int reuse_;
  std::vector<Pair> pairs_;
  std::mutex mutex_;  // of free_
  std::vector<std::unique_ptr<SelectScratch>> free_;
};

// Indices for all pairs: none for the first `n_dense` layers and for layers with a window, else
// what `make(layer, kv_head)` returns.
template <typename Make>
std::vector<std::unique_ptr<HeadIndex>> MakeIndices(const SelectorShape& shape, int n_dense,
                                                    const Make& make) {
  std::vector<std::unique_ptr<HeadIndex>> indices;
  for (int layer = 0; layer < shape.n_layer; ++layer) {
    const bool windowed = !shape.window.empty() && shape.window[static_cast<size_t>(layer)] > 0;
    for (int kv_head = 0; kv_head < shape.n_kv_head; ++kv_head) {
      indices.push_back(layer < n_dense || windowed ? nullptr : make(layer, kv_head));
    }
  }
  return indices;
}

}  // namespace kvasir
