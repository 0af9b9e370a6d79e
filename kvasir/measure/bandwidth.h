// What this machine's memory gives to plain reads: the ceiling of decoding.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "kvasir/core/thread_team.h"
#include "kvasir/status.h"

namespace kvasir {

// A buffer far larger than the last cache, on huge pages where the system gives them. One reader at
// a time.
class ReadMeter {
 public:
  // `bytes` is rounded up to whole slices; 0 takes eight times the last cache, at least 256 MiB.
  // Errors: kOutOfMemory.
  static Result<std::unique_ptr<ReadMeter>> Create(int64_t bytes = 0);
  ~ReadMeter();
  ReadMeter(const ReadMeter&) = delete;
  ReadMeter& operator=(const ReadMeter&) = delete;

  // Reads the buffer once with all threads of the team; bytes per second.
  double Read(ThreadTeam& team);
  // The median of `n_pass` reads, after one that is not counted.
  double MedianRate(ThreadTeam& team, int n_pass = 5);

  int64_t bytes() const { return bytes_; }
  const uint64_t* words() const { return words_; }
  // Exclusive or of the buffer's words as the last Read saw them.
  uint64_t checksum() const { return checksum_; }

 private:
  ReadMeter(uint64_t* words, int64_t bytes) : words_(words), bytes_(bytes) {}
  uint64_t* words_;
  int64_t bytes_;
  uint64_t checksum_ = 0;
};

}  // namespace kvasir
