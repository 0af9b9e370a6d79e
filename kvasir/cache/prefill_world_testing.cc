#include "kvasir/cache/prefill_world_testing.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "kvasir/kernels/half.h"

namespace kvasir {

Status RecordingMask::Choose(const PrefillQueries& queries, const SegmentList& list,
                             AttendScratch& scratch, PrefillRoom room,
                             std::span<uint8_t> chosen) const {
  KVASIR_RETURN_IF_ERROR(mask_->Choose(queries, list, scratch, room, chosen));
  const auto first_head =
      static_cast<int>((queries.q - first_) % queries.token_stride / queries.head_dim);
  const size_t n_unit = chosen.size() / static_cast<size_t>(queries.n_head);
  const std::lock_guard lock(mutex_);
  for (int h = 0; h < queries.n_head; ++h) {
    const auto marks = chosen.begin() + static_cast<int64_t>(h * n_unit);
    marks_[{queries.pos, first_head + h}].assign(marks, marks + static_cast<int64_t>(n_unit));
  }
  return Status::Ok();
}

PrefillWorld::PrefillWorld(const CacheShape& shape, int n_token, uint32_t seed, float peak)
    : shape_(shape),
      n_token_(n_token),
      scale_(1.0f / std::sqrt(static_cast<float>(shape.head_dim))) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal;
  k_.resize(Index(n_token, 0, shape.n_kv_head));
  v_.resize(k_.size());
  q_.resize(Index(n_token, 0, shape.n_head));
  for (auto* rows : {&k_, &v_, &q_}) {
    for (float& x : *rows) x = normal(rng);
  }
  // q.k of a key with itself is about head_dim.
  const float share = peak * scale_;
  for (int t = 0; t < n_token; ++t) {
    for (int h = 0; h < shape.n_head; ++h) {
      const float* key =
          k(static_cast<int>(rng() % static_cast<uint32_t>(t + 1)), h / shape.group());
      for (int j = 0; j < shape.head_dim; ++j) q(t, h)[j] += share * key[j];
    }
  }
}

std::vector<float> PrefillWorld::Read(std::shared_ptr<const PrefillMask> mask, int chunk,
                                      int n_thread, TileFormat format) {
  ByteLedger ledger;
  SlabArena arena(ledger, ByteKind::kKv);
  ThreadTeam team(n_thread);
  auto workspace = *AttendWorkspace::Create(shape_, n_thread, ledger);
  SequenceCache cache(shape_, format, format, arena);
  const auto recording =
      mask == nullptr ? nullptr : std::make_shared<RecordingMask>(std::move(mask));
  cache.set_prefill_mask(recording);
  std::vector<float> out(q_.size());
  if (norms != nullptr) norms->assign(static_cast<size_t>(n_token_) * shape_.n_head, RowNorm{});
  for (int first = 0; first < n_token_; first += chunk) {
    const int n = std::min(chunk, n_token_ - first);
    std::vector<int32_t> pos(static_cast<size_t>(n));
    std::iota(pos.begin(), pos.end(), first);
    EXPECT_TRUE(
        cache.Append(0, pos, k(first, 0), &v_[Index(first, 0, shape_.n_kv_head)], team).ok());
    LayerQueries queries;
    queries.q = q(first, 0);
    queries.pos = pos;
    queries.scale = scale_;
    queries.softcap = softcap;
    if (norms != nullptr) queries.norms = &(*norms)[static_cast<size_t>(first) * shape_.n_head];
    queries.n_norm = n_norm;
    if (recording != nullptr) recording->Begin(queries.q);
    const Status status =
        cache.Attend(0, queries, team, *workspace, &out[Index(first, 0, shape_.n_head)]);
    EXPECT_TRUE(status.ok()) << status.ToString();
    cache.Advance(first + n);
  }
  marks_ = recording == nullptr ? PrefillMarks{} : recording->marks();
  reads_ = workspace->prefill_reads();
  scratch_bytes_ = ledger.held(ByteKind::kScratch);
  return out;
}

std::vector<double> PrefillWorld::HeldKey(int token, int kv_head) const {
  std::vector<double> key;
  const float* row = &k_[Index(token, kv_head, shape_.n_kv_head)];
  for (int j = 0; j < shape_.head_dim; ++j) key.push_back(HalfToFloat(FloatToHalf(row[j])));
  return key;
}

std::vector<double> PrefillWorld::Define(const PrefillMarks& marks, int unit_tokens) const {
  const int d = shape_.head_dim;
  std::vector<double> out(q_.size());
  for (int kv_head = 0; kv_head < shape_.n_kv_head; ++kv_head) {
    std::vector<std::vector<double>> keys;
    for (int t = 0; t < n_token_; ++t) keys.push_back(HeldKey(t, kv_head));
    for (int token = 0; token < n_token_; ++token) {
      for (int h = kv_head * shape_.group(); h < (kv_head + 1) * shape_.group(); ++h) {
        const auto found = marks.find({token / kPrefillBlock * kPrefillBlock, h});
        const auto seen = [&](int t) {
          if (found == marks.end() || t / unit_tokens >= static_cast<int>(found->second.size())) {
            return true;
          }
          return found->second[static_cast<size_t>(t / unit_tokens)] != 0;
        };
        std::vector<double> weight(static_cast<size_t>(token) + 1);
        double max = -1e300, sum = 0;
        for (int t = 0; t <= token; ++t) {
          double dot = 0;
          for (int j = 0; j < d; ++j) dot += q(token, h)[j] * keys[t][j];
          weight[t] = dot * scale_;
          if (softcap > 0) weight[t] = softcap * std::tanh(weight[t] / softcap);
          if (seen(t)) max = std::max(max, weight[t]);
        }
        for (int t = 0; t <= token; ++t) {
          weight[t] = seen(t) ? std::exp(weight[t] - max) : 0;
          sum += weight[t];
        }
        for (int t = 0; t <= token; ++t) {
          const float* v = &v_[Index(t, kv_head, shape_.n_kv_head)];
          for (int j = 0; j < d; ++j) {
            out[Index(token, h, shape_.n_head) + j] +=
                weight[t] / sum * HalfToFloat(FloatToHalf(v[j]));
          }
        }
      }
    }
  }
  return out;
}

}  // namespace kvasir
