#include "kvasir/core/slab_arena.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cassert>
#include <cstring>
#include <functional>

namespace kvasir {
namespace {

constexpr int64_t kPage = 4096;
constexpr int64_t kHugePage = int64_t{2} << 20;
// Small caches start with small slabs; each further slab of a size doubles up to a huge page.
constexpr int64_t kFirstSlab = int64_t{64} << 10;

size_t Index(ByteKind kind) { return static_cast<size_t>(kind); }

int64_t RoundUp(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// Of `target` bytes, or a block more where less than a whole number of blocks would waste much.
int64_t SlabBytes(int64_t target, int64_t block_bytes) {
  const int64_t rest = target % block_bytes;
  return RoundUp(rest * 32 > target ? target - rest + block_bytes : target, kPage);
}

// Zeroed memory; from the size of a huge page on aligned to one, and on huge pages where the system
// gives them: the page walks of a virtual machine can cost reads half of their speed.
void* MapPages(int64_t bytes) {
  const int64_t spare = bytes >= kHugePage ? kHugePage : 0;
  void* mapped = mmap(nullptr, static_cast<size_t>(bytes + spare), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED || spare == 0) return mapped;
  auto* begin = static_cast<std::byte*>(mapped);
  auto* base = reinterpret_cast<std::byte*>(
      RoundUp(static_cast<int64_t>(reinterpret_cast<uintptr_t>(begin)), kHugePage));
  if (base > begin) munmap(begin, static_cast<size_t>(base - begin));
  const int64_t rest = begin + spare - base;
  if (rest > 0) munmap(base + bytes, static_cast<size_t>(rest));
  madvise(base, static_cast<size_t>(bytes), MADV_HUGEPAGE);
  return base;
}

}  // namespace

ArenaBlock& ArenaBlock::operator=(ArenaBlock&& other) noexcept {
  std::swap(arena_, other.arena_);
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

ArenaBlock::~ArenaBlock() {
  if (data_ == nullptr) return;
  std::lock_guard lock(arena_->mutex_);
  arena_->GiveBack(data_, bytes_);
}

ArenaRun& ArenaRun::operator=(ArenaRun&& other) noexcept {
  std::swap(arena_, other.arena_);
  std::swap(n_block_, other.n_block_);
  std::swap(block_bytes_, other.block_bytes_);
  std::swap(first_, other.first_);
  std::swap(others_, other.others_);
  return *this;
}

ArenaRun::~ArenaRun() {
  if (n_block_ == 0) return;
  std::lock_guard lock(arena_->mutex_);
  for (int64_t i = n_block_ - 1; i >= 0; --i) arena_->GiveBack(block(i), block_bytes_);
}

ArenaRun::Stretch ArenaRun::stretch(int64_t i) const {
  const auto after = std::ranges::upper_bound(others_, i, {}, &Start::first);
  const Start& start = after == others_.begin() ? first_ : *std::prev(after);
  return {start.first, after == others_.end() ? n_block_ : after->first, start.data, block_bytes_};
}

SlabArena::~SlabArena() {
  assert(used_ == decltype(used_){});
  for (const auto& [base, slab] : slabs_) {
    munmap(slab->base, static_cast<size_t>(slab->bytes));
    ledger_.Release(slab->kind, slab->bytes);
  }
}

Result<SlabArena::Slab*> SlabArena::MapSlab(SizeClass& size_class, int64_t block_bytes,
                                            ByteKind kind) {
  const int64_t target = std::min(kHugePage, kFirstSlab << std::min<int64_t>(size_class.n_slab, 5));
  const int64_t bytes = SlabBytes(target, block_bytes);
  KVASIR_RETURN_IF_ERROR(ledger_.Charge(kind, bytes));
  void* base = MapPages(bytes);
  if (base == MAP_FAILED) {
    ledger_.Release(kind, bytes);
    return Status::OutOfMemory(
        fmt::format("the system refused {} for {}", FormatBytes(bytes), ByteKindName(kind)));
  }
  auto slab = std::make_unique<Slab>();
  slab->kind = kind;
  slab->base = static_cast<std::byte*>(base);
  slab->bytes = bytes;
  slab->n_block = bytes / block_bytes;
  Slab* raw = slab.get();
  slabs_.emplace(raw->base, std::move(slab));
  size_class.with_room.insert(raw);
  ++size_class.n_slab;
  mapped_[Index(kind)] += bytes;
  return raw;
}

Result<std::byte*> SlabArena::Take(int64_t bytes, ByteKind kind) {
  SizeClass& size_class = classes_[{kind, bytes}];
  if (size_class.with_room.empty()) {
    KVASIR_RETURN_IF_ERROR(MapSlab(size_class, bytes, kind).status());
  }
  Slab* slab = *size_class.with_room.begin();
  std::byte* data;
  if (!slab->free.empty()) {
    data = slab->base + slab->free.back() * bytes;
    slab->free.pop_back();
    std::memset(data, 0, static_cast<size_t>(bytes));
  } else {
    data = slab->base + slab->next++ * bytes;  // fresh from the system: already zero
  }
  if (slab->free.empty() && slab->next == slab->n_block) size_class.with_room.erase(slab);
  used_[Index(kind)] += bytes;
  return data;
}

Result<ArenaBlock> SlabArena::Allocate(int64_t bytes, ByteKind kind) {
  assert(bytes > 0);
  bytes = RoundUp(bytes, 64);
  std::lock_guard lock(mutex_);
  KVASIR_ASSIGN_OR_RETURN(std::byte * data, Take(bytes, kind));
  return ArenaBlock(this, data, bytes);
}

Result<ArenaRun> SlabArena::AllocateRun(int64_t bytes, int64_t n) {
  assert(bytes > 0);
  bytes = RoundUp(bytes, 64);
  std::vector<std::byte*> blocks;
  blocks.reserve(static_cast<size_t>(n));
  std::lock_guard lock(mutex_);
  for (int64_t i = 0; i < n; ++i) {
    Result<std::byte*> data = Take(bytes, kind_);
    if (!data.ok()) {
      for (std::byte* taken : blocks) GiveBack(taken, bytes);
      return std::move(data).status();
    }
    blocks.push_back(*data);
  }
  // Those that were given back before come in any order.
  std::ranges::sort(blocks, std::less<>());
  ArenaRun run;
  run.arena_ = this;
  run.n_block_ = n;
  run.block_bytes_ = bytes;
  if (n > 0) run.first_.data = blocks[0];
  for (int64_t i = 1; i < n; ++i) {
    if (blocks[i] != blocks[i - 1] + bytes) run.others_.push_back({i, blocks[i]});
  }
  return run;
}

void SlabArena::GiveBack(std::byte* data, int64_t bytes) {
  auto it = std::prev(slabs_.upper_bound(data));
  Slab* slab = it->second.get();
  SizeClass& size_class = classes_[{slab->kind, bytes}];
  slab->free.push_back(static_cast<int32_t>((data - slab->base) / bytes));
  size_class.with_room.insert(slab);
  used_[Index(slab->kind)] -= bytes;
  if (static_cast<int64_t>(slab->free.size()) == slab->next) {
    size_class.with_room.erase(slab);
    --size_class.n_slab;
    munmap(slab->base, static_cast<size_t>(slab->bytes));
    ledger_.Release(slab->kind, slab->bytes);
    mapped_[Index(slab->kind)] -= slab->bytes;
    slabs_.erase(it);
  }
}

int64_t SlabArena::mapped_bytes(ByteKind kind) const {
  std::lock_guard lock(mutex_);
  return mapped_[Index(kind)];
}

int64_t SlabArena::used_bytes(ByteKind kind) const {
  std::lock_guard lock(mutex_);
  return used_[Index(kind)];
}

}  // namespace kvasir
