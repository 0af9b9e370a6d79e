#include "kvasir/measure/bandwidth.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <vector>

#include "kvasir/core/isa.h"
#include "kvasir/measure/read_loop.h"
#include "kvasir/measure/statistics.h"

namespace kvasir {
namespace {

constexpr int64_t kSliceBytes = 256 << 10;
constexpr int64_t kSliceWords = kSliceBytes / static_cast<int64_t>(sizeof(uint64_t));

int64_t DefaultBytes() {
  const long last_cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
  return std::clamp<int64_t>(int64_t{8} * last_cache, int64_t{256} << 20, int64_t{1} << 30);
}

}  // namespace

Result<std::unique_ptr<ReadMeter>> ReadMeter::Create(int64_t bytes) {
  if (bytes <= 0) bytes = DefaultBytes();
  bytes = (bytes + kSliceBytes - 1) / kSliceBytes * kSliceBytes;
  const auto size = static_cast<size_t>(bytes);
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    return Status::OutOfMemory(fmt::format("read bandwidth: no buffer of {} bytes", bytes));
  }
  madvise(memory, size, MADV_HUGEPAGE);
  // Every page is written: untouched ones all read from the same page of zeros.
  auto* words = static_cast<uint64_t*>(memory);
  for (size_t i = 0; i < size / sizeof(uint64_t); ++i) words[i] = i * 0x9e3779b97f4a7c15u;
  return std::unique_ptr<ReadMeter>(new ReadMeter(words, bytes));
}

ReadMeter::~ReadMeter() { munmap(words_, static_cast<size_t>(bytes_)); }

double ReadMeter::Read(ThreadTeam& team) {
  const Isa isa = ActiveIsa();
  std::atomic<uint64_t> checksum{0};
  const auto start = std::chrono::steady_clock::now();
  team.Run(bytes_ / kSliceBytes, [&](int64_t slice, int) {
    checksum.fetch_xor(ReadWords(isa, words_ + slice * kSliceWords, kSliceWords),
                       std::memory_order_relaxed);
  });
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  checksum_ = checksum.load();
  return static_cast<double>(bytes_) / seconds.count();
}

double ReadMeter::MedianRate(ThreadTeam& team, int n_pass) {
  Read(team);
  std::vector<double> rates;
  for (int i = 0; i < n_pass; ++i) rates.push_back(Read(team));
  return Summarize(rates).median;
}

}  // namespace kvasir
