#include "kvasir/codecs/rope_table.h"

#include <algorithm>
#include <cmath>

#include "kvasir/kernels/attend.h"

namespace kvasir {
namespace {

constexpr int32_t kFirstPositions = 4096;

}  // namespace

RopeTable::RopeTable(const Rope& rope, int32_t n_pos)
    : pairing_(rope.pairing()),
      frequency_(rope.frequencies().begin(), rope.frequencies().end()),
      n_pos_(n_pos) {
  const size_t n_pair = frequency_.size();
  fine_.resize(n_pair * 2 * kFine);
  for (size_t i = 0; i < n_pair; ++i) {
    for (int l = 0; l < kFine; ++l) {
      fine_[(2 * i) * kFine + l] = static_cast<float>(std::cos(l * frequency_[i]));
      fine_[(2 * i + 1) * kFine + l] = static_cast<float>(std::sin(l * frequency_[i]));
    }
  }
  for (int64_t base = 0; base < n_pos; base += kFine) {
    for (double frequency : frequency_) {
      const double angle = static_cast<double>(base) * frequency;
      coarse_.push_back(static_cast<float>(std::cos(angle)));
      coarse_.push_back(static_cast<float>(std::sin(angle)));
    }
  }
}

bool RopeTable::Serves(const Rope& rope) const {
  return pairing_ == rope.pairing() && std::ranges::equal(frequency_, rope.frequencies());
}

void RopeTable::Channels(int i, int* a, int* b) const {
  const bool halves = pairing_ == RopePairing::kHalves;
  *a = halves ? i : 2 * i;
  *b = halves ? i + static_cast<int>(frequency_.size()) : 2 * i + 1;
}

void RopeTable::FillLanes(int i, std::span<const int32_t> pos, float* cos, float* sin) const {
  const float* fine_cos = &fine_[static_cast<size_t>(2 * i) * kFine];
  const float* fine_sin = fine_cos + kFine;
  const auto coarse_of = [&](int32_t p) {
    return &coarse_[(static_cast<size_t>(p / kFine) * frequency_.size() + i) * 2];
  };
  const auto join = [&](const float* coarse, int32_t fine, size_t t) {
    const float c = fine_cos[fine], s = fine_sin[fine];
    cos[t] = coarse[0] * c - coarse[1] * s;
    sin[t] = coarse[1] * c + coarse[0] * s;
  };
  const size_t n = pos.size();
  const bool one_run =
      pos[n - 1] - pos[0] == static_cast<int32_t>(n) - 1 && pos[0] / kFine == pos[n - 1] / kFine;
  if (one_run) {
    const float* coarse = coarse_of(pos[0]);
    const float coarse_cos_sin[2] = {coarse[0], coarse[1]};
    const int32_t fine = pos[0] % kFine;
    for (size_t t = 0; t < n; ++t) join(coarse_cos_sin, fine + static_cast<int32_t>(t), t);
    return;
  }
  for (size_t t = 0; t < n; ++t) join(coarse_of(pos[t]), pos[t] % kFine, t);
}

void RopeTable::Unrotate(float* row, int32_t pos) const {
  for (int i = 0; i < static_cast<int>(frequency_.size()); ++i) {
    float c, s;
    FillLanes(i, {&pos, 1}, &c, &s);
    int first, second;
    Channels(i, &first, &second);
    const float a = row[first], b = row[second];
    row[first] = a * c + b * s;
    row[second] = b * c - a * s;
  }
}

void RopeTable::RotateTile(float* tile, std::span<const int32_t> pos) const {
  float c[kTileTokens] = {}, s[kTileTokens] = {};
  for (int i = 0; i < static_cast<int>(frequency_.size()); ++i) {
    FillLanes(i, pos, c, s);
    int first, second;
    Channels(i, &first, &second);
    float* a = tile + first * kTileTokens;
    float* b = tile + second * kTileTokens;
    for (int t = 0; t < kTileTokens; ++t) {
      const float x = a[t], y = b[t];
      a[t] = x * c[t] - y * s[t];
      b[t] = y * c[t] + x * s[t];
    }
  }
}

std::shared_ptr<const RopeTable> RopeTables::Get(const Rope& rope, int32_t max_pos) const {
  std::lock_guard lock(mutex_);
  auto found = std::ranges::find_if(tables_, [&](const auto& t) { return t->Serves(rope); });
  if (found != tables_.end() && (*found)->n_pos() > max_pos) return *found;
  int64_t n_pos = found == tables_.end() ? kFirstPositions : (*found)->n_pos();
  while (n_pos <= max_pos) n_pos *= 2;
  auto table = std::make_shared<const RopeTable>(
      rope, static_cast<int32_t>(std::min<int64_t>(n_pos, INT32_MAX)));
  if (found == tables_.end()) {
    tables_.push_back(table);
  } else {
    *found = table;
  }
  return table;
}

}  // namespace kvasir
