#include "kvasir/codecs/rope_table.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <mutex>
#include <utility>

#include "kvasir/kernels/attend.h"

namespace kvasir {
namespace {

constexpr int64_t kFirstPositions = 4096;

// Table sizes double.
int64_t Reach(int64_t n_pos, int32_t max_pos) {
  while (n_pos <= max_pos) n_pos *= 2;
  return std::min<int64_t>(n_pos, INT32_MAX);
}

}  // namespace

int64_t RopeTable::BytesOf(int64_t n_pair, int64_t n_pos) {
  const int64_t n_coarse = (n_pos + kFine - 1) / kFine;
  return 2 * n_pair * (kFine + n_coarse) * static_cast<int64_t>(sizeof(float));
}

int64_t RopeTable::Bytes(int64_t n_pair, int32_t max_pos) {
  return BytesOf(n_pair, Reach(kFirstPositions, max_pos));
}

Result<std::shared_ptr<const RopeTable>> RopeTable::Make(const Rope& rope, int32_t n_pos,
                                                         ByteLedger& ledger) {
  const auto n_pair = static_cast<int64_t>(rope.frequencies().size());
  KVASIR_ASSIGN_OR_RETURN(ByteCharge charge,
                          ByteCharge::Take(ledger, ByteKind::kIndex, BytesOf(n_pair, n_pos)));
  return std::shared_ptr<const RopeTable>(new RopeTable(rope, n_pos, ledger, std::move(charge)));
}

RopeTable::RopeTable(const Rope& rope, int32_t n_pos, ByteLedger& ledger, ByteCharge charge)
    : pairing_(rope.pairing()),
      frequency_(rope.frequencies().begin(), rope.frequencies().end()),
      n_pos_(n_pos),
      ledger_(&ledger),
      charge_(std::move(charge)) {
  const size_t n_pair = frequency_.size();
  fine_.resize(n_pair * 2 * kFine);
  for (size_t i = 0; i < n_pair; ++i) {
    for (int l = 0; l < kFine; ++l) {
      fine_[(2 * i) * kFine + l] = static_cast<float>(std::cos(l * frequency_[i]));
      fine_[(2 * i + 1) * kFine + l] = static_cast<float>(std::sin(l * frequency_[i]));
    }
  }
  coarse_.reserve(static_cast<size_t>((int64_t{n_pos} + kFine - 1) / kFine) * n_pair * 2);
  for (int64_t base = 0; base < n_pos; base += kFine) {
    for (double frequency : frequency_) {
      const double angle = static_cast<double>(base) * frequency;
      coarse_.push_back(static_cast<float>(std::cos(angle)));
      coarse_.push_back(static_cast<float>(std::sin(angle)));
    }
  }
}

bool RopeTable::Serves(const Rope& rope, const ByteLedger& ledger) const {
  return ledger_ == &ledger && pairing_ == rope.pairing() &&
         std::ranges::equal(frequency_, rope.frequencies());
}

void RopeTable::Channels(int i, int* a, int* b) const {
  const bool halves = pairing_ == RopePairing::kHalves;
  *a = halves ? i : 2 * i;
  *b = halves ? i + static_cast<int>(frequency_.size()) : 2 * i + 1;
}

void RopeTable::FillLanes(int i, std::span<const int32_t> by, float* cos, float* sin) const {
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
  const size_t n = by.size();
  bool one_run = by[0] >= 0 && by[0] / kFine == by[n - 1] / kFine;
  for (size_t t = 1; t < n; ++t) one_run = one_run && by[t] == by[t - 1] + 1;
  if (one_run) {
    const float* coarse = coarse_of(by[0]);
    const float coarse_cos_sin[2] = {coarse[0], coarse[1]};
    const int32_t fine = by[0] % kFine;
    for (size_t t = 0; t < n; ++t) join(coarse_cos_sin, fine + static_cast<int32_t>(t), t);
    return;
  }
  for (size_t t = 0; t < n; ++t) {
    if (t > 0 && by[t] == by[t - 1]) {
      cos[t] = cos[t - 1];
      sin[t] = sin[t - 1];
      continue;
    }
    const int32_t distance = std::abs(by[t]);
    join(coarse_of(distance), distance % kFine, t);
    if (by[t] < 0) sin[t] = -sin[t];
  }
}

void RopeTable::Turn(float* row, int32_t by) const {
  for (int i = 0; i < static_cast<int>(frequency_.size()); ++i) {
    float c, s;
    FillLanes(i, {&by, 1}, &c, &s);
    int first, second;
    Channels(i, &first, &second);
    const float a = row[first], b = row[second];
    row[first] = a * c - b * s;
    row[second] = b * c + a * s;
  }
}

void RopeTable::TurnTile(float* tile, std::span<const int32_t> by) const {
  float c[kTileTokens] = {}, s[kTileTokens] = {};
  for (int i = 0; i < static_cast<int>(frequency_.size()); ++i) {
    FillLanes(i, by, c, s);
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

Result<std::shared_ptr<const RopeTable>> GetRopeTable(const Rope& rope, int32_t max_pos,
                                                      ByteLedger& ledger) {
  static std::mutex mutex;
  static std::vector<std::weak_ptr<const RopeTable>> tables;
  std::lock_guard lock(mutex);
  std::erase_if(tables, [](const auto& table) { return table.expired(); });
  int64_t n_pos = kFirstPositions;
  for (const auto& weak : tables) {
    const std::shared_ptr<const RopeTable> table = weak.lock();
    if (table == nullptr || !table->Serves(rope, ledger)) continue;
    if (table->n_pos() > max_pos) return table;
    n_pos = std::max<int64_t>(n_pos, table->n_pos());
  }
  KVASIR_ASSIGN_OR_RETURN(
      std::shared_ptr<const RopeTable> table,
      RopeTable::Make(rope, static_cast<int32_t>(Reach(n_pos, max_pos)), ledger));
  tables.push_back(table);
  return table;
}

}  // namespace kvasir
