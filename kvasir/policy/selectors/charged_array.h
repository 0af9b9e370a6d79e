// A growing array whose bytes are charged to a ledger: what page summaries live in.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <type_traits>
#include <utility>

#include "kvasir/core/slab_arena.h"
#include "kvasir/status.h"

namespace kvasir {

// Aligned to 64. Grows by an eighth at least, so that decoding allocates rarely. Arrays from a page
// on live in the arena: what a heap keeps of outgrown arrays would be several times what they hold,
// and nobody's account.
template <typename T>
class ChargedArray {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  // Without an arena all is in the heap, and not accounted.
  ChargedArray(SlabArena* arena, ByteKind kind) : arena_(arena), kind_(kind) {}

  // Keeps the first min(n, size()) values; further ones are zero. Errors: kOutOfMemory; then
  // nothing changed.
  Status Resize(int64_t n) {
    if (n > capacity_) KVASIR_RETURN_IF_ERROR(Grow(std::max(n, capacity_ + capacity_ / 8)));
    if (n > size_) std::fill(data() + size_, data() + n, T{});
    size_ = n;
    return Status::Ok();
  }
  Result<ChargedArray> Copy() const {
    ChargedArray copy(arena_, kind_);
    KVASIR_RETURN_IF_ERROR(copy.Resize(size_));
    std::copy(data(), data() + size_, copy.data());
    return copy;
  }

  T* data() { return memory_.get(); }
  const T* data() const { return memory_.get(); }
  T& operator[](int64_t i) { return memory_.get()[i]; }
  const T& operator[](int64_t i) const { return memory_.get()[i]; }
  int64_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  int64_t bytes() const { return capacity_ * static_cast<int64_t>(sizeof(T)); }

 private:
  static constexpr int64_t kAlign = 64;
  static constexpr int64_t kSmallest = 4096;  // of what lives in the arena

  // Gives memory back: the block's with the block itself.
  struct Free {
    ArenaBlock block;
    void operator()(T* p) const {
      if (block.data() == nullptr) std::free(p);
    }
  };
  using Memory = std::unique_ptr<T, Free>;

  Status Grow(int64_t n) {
    const int64_t bytes = (n * static_cast<int64_t>(sizeof(T)) + kAlign - 1) / kAlign * kAlign;
    ByteCharge charge;  // of what is in the heap
    Memory memory;
    if (arena_ != nullptr && bytes >= kSmallest) {
      KVASIR_ASSIGN_OR_RETURN(ArenaBlock block, arena_->Allocate(bytes, kind_));
      auto* data = reinterpret_cast<T*>(block.data());
      memory = Memory(data, Free{std::move(block)});
    } else {
      if (arena_ != nullptr) {
        KVASIR_ASSIGN_OR_RETURN(charge, ByteCharge::Take(arena_->ledger(), kind_, bytes));
      }
      memory.reset(static_cast<T*>(std::aligned_alloc(kAlign, static_cast<size_t>(bytes))));
      if (memory == nullptr) {
        return Status::OutOfMemory(
            fmt::format("the system refused {} for {}", FormatBytes(bytes), ByteKindName(kind_)));
      }
    }
    if (size_ > 0) std::copy(data(), data() + size_, memory.get());
    memory_ = std::move(memory);
    charge_ = std::move(charge);
    capacity_ = bytes / static_cast<int64_t>(sizeof(T));
    return Status::Ok();
  }

  SlabArena* arena_;
  ByteKind kind_;
  ByteCharge charge_;
  Memory memory_;
  int64_t size_ = 0;
  int64_t capacity_ = 0;
};

}  // namespace kvasir
