// One account of every byte the engine holds, by kind, with a limit that is never passed.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

#include "kvasir/status.h"

namespace kvasir {

enum class ByteKind : uint8_t { kWeights, kKv, kIndex, kScratch, kCache, kOther };
inline constexpr int kByteKinds = 6;
std::string_view ByteKindName(ByteKind kind);  // "weights", "kv", ...

// Thread-safe. Charges come before the allocation they stand for, so the limit holds at all times.
class ByteLedger {
 public:
  explicit ByteLedger(int64_t limit = 0) : limit_(limit) {}  // 0 = no limit

  // Errors: kOutOfMemory names the kind, the bytes wanted, held and allowed; nothing is charged.
  Status Charge(ByteKind kind, int64_t bytes);
  void Release(ByteKind kind, int64_t bytes);

  int64_t limit() const { return limit_; }
  int64_t held() const { return total_.load(std::memory_order_relaxed); }
  int64_t held(ByteKind kind) const {
    return by_kind_[static_cast<size_t>(kind)].load(std::memory_order_relaxed);
  }
  int64_t peak() const { return peak_.load(std::memory_order_relaxed); }
  int64_t available() const { return limit_ == 0 ? INT64_MAX : limit_ - held(); }
  // "weights 1.2 GiB, kv 0.4 GiB, ... of 4.0 GiB".
  std::string Describe() const;

 private:
  const int64_t limit_;
  std::atomic<int64_t> total_{0};
  std::atomic<int64_t> peak_{0};
  std::array<std::atomic<int64_t>, kByteKinds> by_kind_{};
};

// A charge that is released with the object.
class ByteCharge {
 public:
  ByteCharge() = default;
  static Result<ByteCharge> Take(ByteLedger& ledger, ByteKind kind, int64_t bytes);
  ByteCharge(ByteCharge&& other) noexcept;
  ByteCharge& operator=(ByteCharge&& other) noexcept;
  ~ByteCharge() { Reset(); }
  void Reset();
  int64_t bytes() const { return bytes_; }

 private:
  ByteCharge(ByteLedger* ledger, ByteKind kind, int64_t bytes)
      : ledger_(ledger), kind_(kind), bytes_(bytes) {}
  ByteLedger* ledger_ = nullptr;
  ByteKind kind_ = ByteKind::kOther;
  int64_t bytes_ = 0;
};

// "1.50 GiB", "4.0 KiB", "17 B".
std::string FormatBytes(int64_t bytes);

}  // namespace kvasir
