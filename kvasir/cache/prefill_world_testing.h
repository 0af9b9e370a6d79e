// A prompt of one layer read under a mask, beside the definition in f64, for tests.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "kvasir/cache/sequence_cache.h"

namespace kvasir {

// What a mask chose: by position of the block's first token and query head, 1 = read.
using PrefillMarks = std::map<std::pair<int32_t, int>, std::vector<uint8_t>>;

// Passes on another mask's choice and remembers it.
class RecordingMask final : public PrefillMask {
 public:
  explicit RecordingMask(std::shared_ptr<const PrefillMask> mask) : mask_(std::move(mask)) {}
  int unit_tokens() const override { return mask_->unit_tokens(); }
  int64_t RoomBytes(const PrefillSize& size) const override { return mask_->RoomBytes(size); }
  Status Choose(const PrefillQueries& queries, const SegmentList& list, AttendScratch& scratch,
                PrefillRoom room, std::span<uint8_t> chosen) const override;

  // The layer's queries, of which those that are asked for are a part.
  void Begin(const float* q) { first_ = q; }
  const PrefillMarks& marks() const { return marks_; }

 private:
  std::shared_ptr<const PrefillMask> mask_;
  const float* first_ = nullptr;
  mutable std::mutex mutex_;
  mutable PrefillMarks marks_;
};

class PrefillWorld {
 public:
  // Queries look for the key of an earlier token: attention is peaked.
  //   peak  how many standard deviations its logit stands out
  PrefillWorld(const CacheShape& shape, int n_token, uint32_t seed, float peak = 8);

  // Reads the whole prompt in chunks: (n_token, n_head, head_dim).
  std::vector<float> Read(std::shared_ptr<const PrefillMask> mask, int chunk, int n_thread = 2,
                          TileFormat format = TileFormat::kF16);
  // The same by definition: query heads read what `marks` say, and everything where they say
  // nothing.
  std::vector<double> Define(const PrefillMarks& marks, int unit_tokens) const;
  const PrefillMarks& marks() const { return marks_; }  // of the last Read
  TokenReads reads() const { return reads_; }           // of the last Read
  int64_t scratch_bytes() const { return scratch_bytes_; }

  const CacheShape& shape() const { return shape_; }
  int n_token() const { return n_token_; }
  float scale() const { return scale_; }
  float* q(int token, int head) { return &q_[Index(token, head, shape_.n_head)]; }
  float* k(int token, int kv_head) { return &k_[Index(token, kv_head, shape_.n_kv_head)]; }
  const float* q(int token, int head) const { return &q_[Index(token, head, shape_.n_head)]; }
  // As an f16 cache holds it.
  std::vector<double> HeldKey(int token, int kv_head) const;

  float softcap = 0;
  // Receives norms (n_token, n_head) of so many of each chunk's newest tokens; null = not wanted.
  std::vector<RowNorm>* norms = nullptr;
  int n_norm = INT32_MAX;

 private:
  size_t Index(int token, int head, int n_head) const {
    return (static_cast<size_t>(token) * n_head + head) * shape_.head_dim;
  }

  CacheShape shape_;
  int n_token_;
  float scale_;
  std::vector<float> q_, k_, v_;
  PrefillMarks marks_;
  TokenReads reads_;
  int64_t scratch_bytes_ = 0;
};

}  // namespace kvasir
