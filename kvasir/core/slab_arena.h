// Fixed-size blocks cut from large slabs: what KV tiles and sealed blocks live in. Slabs are mapped
// on demand, so memory follows use, and unmapped when their last block is freed, so that evicted
// bytes really go back to the system.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

#include "kvasir/core/byte_ledger.h"
#include "kvasir/status.h"

namespace kvasir {

class SlabArena;

// Owns one block; the arena must outlive it. Contents are zero when handed out.
class ArenaBlock {
 public:
  ArenaBlock() = default;
  ArenaBlock(ArenaBlock&& other) noexcept
      : arena_(std::exchange(other.arena_, nullptr)),
        data_(std::exchange(other.data_, nullptr)),
        bytes_(std::exchange(other.bytes_, 0)) {}
  ArenaBlock& operator=(ArenaBlock&& other) noexcept;
  ~ArenaBlock();

  std::byte* data() const { return data_; }
  int64_t bytes() const { return bytes_; }  // as accounted: the size asked for, rounded up to 64

 private:
  friend class SlabArena;
  ArenaBlock(SlabArena* arena, std::byte* data, int64_t bytes)
      : arena_(arena), data_(data), bytes_(bytes) {}
  SlabArena* arena_ = nullptr;
  std::byte* data_ = nullptr;
  int64_t bytes_ = 0;
};

// Owns blocks of one size, next to each other in memory as far as the arena has them so: readers
// stream through them, and where they lie takes no memory of its own.
class ArenaRun {
 public:
  ArenaRun() = default;
  ArenaRun(ArenaRun&& other) noexcept { *this = std::move(other); }
  ArenaRun& operator=(ArenaRun&& other) noexcept;
  ~ArenaRun();

  int64_t n_block() const { return n_block_; }
  int64_t block_bytes() const { return block_bytes_; }  // as accounted, like ArenaBlock::bytes()
  std::byte* block(int64_t i) const { return stretch(i).block(i); }
  // Blocks [first, end), next to each other.
  struct Stretch {
    int64_t first = 0, end = 0;
    std::byte* data = nullptr;
    int64_t block_bytes = 0;

    bool has(int64_t i) const { return first <= i && i < end; }
    std::byte* block(int64_t i) const { return data + (i - first) * block_bytes; }
  };
  // That of block i: readers of many blocks look for it once.
  Stretch stretch(int64_t i) const;

 private:
  friend class SlabArena;
  struct Start {
    int64_t first = 0;  // block
    std::byte* data = nullptr;
  };

  SlabArena* arena_ = nullptr;
  int64_t n_block_ = 0, block_bytes_ = 0;
  Start first_;
  std::vector<Start> others_;  // of further stretches
};

// Thread-safe. Whole slabs are charged to the ledger, so that what is accounted is what is mapped.
class SlabArena {
 public:
  // `kind` is that of blocks without one of their own.
  SlabArena(ByteLedger& ledger, ByteKind kind) : ledger_(ledger), kind_(kind) {}
  ~SlabArena();
  SlabArena(const SlabArena&) = delete;
  SlabArena& operator=(const SlabArena&) = delete;

  // A zeroed block of at least `bytes`, aligned to 64. Errors: kOutOfMemory.
  Result<ArenaBlock> Allocate(int64_t bytes) { return Allocate(bytes, kind_); }
  Result<ArenaBlock> Allocate(int64_t bytes, ByteKind kind);
  // n of them. Errors: kOutOfMemory, and then none is taken.
  Result<ArenaRun> AllocateRun(int64_t bytes, int64_t n);

  int64_t mapped_bytes(ByteKind kind) const;
  int64_t used_bytes(ByteKind kind) const;  // of live blocks
  // Of the arena's own kind.
  int64_t mapped_bytes() const { return mapped_bytes(kind_); }
  int64_t used_bytes() const { return used_bytes(kind_); }
  ByteLedger& ledger() const { return ledger_; }

 private:
  friend class ArenaBlock;
  friend class ArenaRun;
  struct Slab {
    ByteKind kind = ByteKind::kKv;
    std::byte* base = nullptr;
    int64_t bytes = 0;
    int64_t n_block = 0;
    int64_t next = 0;           // blocks from here on were never handed out and are still zero
    std::vector<int32_t> free;  // indices of blocks given back
  };
  struct LowerAddress {
    bool operator()(const Slab* a, const Slab* b) const { return a->base < b->base; }
  };
  struct SizeClass {
    int64_t n_slab = 0;
    std::set<Slab*, LowerAddress> with_room;  // the lowest is filled first
  };
  // With the mutex held.
  Result<std::byte*> Take(int64_t bytes, ByteKind kind);
  void GiveBack(std::byte* data, int64_t bytes);
  Result<Slab*> MapSlab(SizeClass& size_class, int64_t block_bytes, ByteKind kind);

  ByteLedger& ledger_;
  const ByteKind kind_;
  mutable std::mutex mutex_;
  std::array<int64_t, kByteKinds> mapped_{}, used_{};
  std::map<std::pair<ByteKind, int64_t>, SizeClass> classes_;  // by kind and block size
  std::map<const std::byte*, std::unique_ptr<Slab>> slabs_;    // by address
};

}  // namespace kvasir
