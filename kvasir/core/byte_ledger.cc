#include "kvasir/core/byte_ledger.h"

#include <fmt/format.h>

#include <cassert>
#include <utility>

namespace kvasir {

std::string_view ByteKindName(ByteKind kind) {
  constexpr std::string_view kNames[kByteKinds] = {"weights", "kv",    "index",
                                                   "scratch", "cache", "other"};
  return kNames[static_cast<size_t>(kind)];
}

Status ByteLedger::Charge(ByteKind kind, int64_t bytes) {
  assert(bytes >= 0);
  int64_t held = total_.load(std::memory_order_relaxed);
  do {
    if (limit_ > 0 && bytes > limit_ - held) {
      return Status::OutOfMemory(fmt::format("{} needs {} more; {} of {} are held ({})",
                                             ByteKindName(kind), FormatBytes(bytes),
                                             FormatBytes(held), FormatBytes(limit_), Describe()));
    }
  } while (!total_.compare_exchange_weak(held, held + bytes, std::memory_order_relaxed));
  by_kind_[static_cast<size_t>(kind)].fetch_add(bytes, std::memory_order_relaxed);
  int64_t peak = peak_.load(std::memory_order_relaxed);
  while (peak < held + bytes &&
         !peak_.compare_exchange_weak(peak, held + bytes, std::memory_order_relaxed)) {
  }
  return Status::Ok();
}

void ByteLedger::Release(ByteKind kind, int64_t bytes) {
  by_kind_[static_cast<size_t>(kind)].fetch_sub(bytes, std::memory_order_relaxed);
  const int64_t before = total_.fetch_sub(bytes, std::memory_order_relaxed);
  assert(before >= bytes);
  static_cast<void>(before);
}

std::string ByteLedger::Describe() const {
  std::string text;
  for (int i = 0; i < kByteKinds; ++i) {
    const auto kind = static_cast<ByteKind>(i);
    if (held(kind) == 0) continue;
    if (!text.empty()) text += ", ";
    text += fmt::format("{} {}", ByteKindName(kind), FormatBytes(held(kind)));
  }
  return text.empty() ? "nothing held" : text;
}

Result<ByteCharge> ByteCharge::Take(ByteLedger& ledger, ByteKind kind, int64_t bytes) {
  KVASIR_RETURN_IF_ERROR(ledger.Charge(kind, bytes));
  return ByteCharge(&ledger, kind, bytes);
}

ByteCharge::ByteCharge(ByteCharge&& other) noexcept
    : ledger_(std::exchange(other.ledger_, nullptr)),
      kind_(other.kind_),
      bytes_(std::exchange(other.bytes_, 0)) {}

ByteCharge& ByteCharge::operator=(ByteCharge&& other) noexcept {
  if (this != &other) {
    Reset();
    ledger_ = std::exchange(other.ledger_, nullptr);
    kind_ = other.kind_;
    bytes_ = std::exchange(other.bytes_, 0);
  }
  return *this;
}

void ByteCharge::Reset() {
  if (ledger_ != nullptr) ledger_->Release(kind_, bytes_);
  ledger_ = nullptr;
  bytes_ = 0;
}

std::string FormatBytes(int64_t bytes) {
  constexpr const char* kUnits[] = {"KiB", "MiB", "GiB", "TiB"};
  if (bytes > -1024 && bytes < 1024) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes) / 1024;
  int unit = 0;
  while ((value >= 1024 || value <= -1024) && unit < 3) {
    value /= 1024;
    ++unit;
  }
  return fmt::format("{:.2f} {}", value, kUnits[unit]);
}

}  // namespace kvasir
