// Reader of safetensors containers: one file, or a folder whose index lists shards.
// Layout: u64 little-endian header length, a JSON object of tensors, the data (safetensors format
// description). Everything is checked when the file is opened, so that a tensor handed out can be
// read without further checks of bounds; tensor bytes themselves are not read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kvasir/core/mapped_file.h"
#include "kvasir/kernels/tensor.h"
#include "kvasir/status.h"

namespace kvasir {

struct SafetensorsEntry {
  TensorType type = TensorType::kF32;  // kF32, kF16 or kBF16
  std::vector<int64_t> shape;          // outermost first; empty for a scalar
  std::span<const std::byte> data;     // borrowed from the file
  uint64_t offset = 0;                 // of `data` in its file
  int shard = 0;                       // index into `paths()`

  std::string ShapeText() const;  // "[512, 2048]"
};

// Longest header that is read; the format's own limit.
inline constexpr uint64_t kMaxSafetensorsHeader = 100'000'000;

// Views stay valid while one of `files()` (or the memory given to FromMemory) lives.
// Const members are safe to call from many threads.
class Safetensors {
 public:
  // A folder with model.safetensors, or with model.safetensors.index.json and its shards.
  // Errors: kNotFound for a missing file or shard; kUnsupported names a tensor's dtype;
  // kCorruption names the tensor or the byte, what was expected and what was found.
  static Result<Safetensors> OpenFolder(const std::string& folder);
  static Result<Safetensors> OpenFile(const std::string& path);
  // The same over bytes that the caller keeps alive; `name` takes the path's place in messages.
  static Result<Safetensors> FromMemory(std::span<const std::byte> bytes, const std::string& name);

  // Null when absent.
  const SafetensorsEntry* Find(const std::string& name) const;
  const std::map<std::string, SafetensorsEntry>& entries() const { return entries_; }
  const std::vector<std::string>& paths() const { return paths_; }  // files in the order opened
  const std::vector<std::shared_ptr<const MappedFile>>& files() const { return files_; }
  uint64_t data_bytes() const { return data_bytes_; }  // of all tensors

 private:
  Status AddFile(const std::string& path);
  Status AddBytes(std::span<const std::byte> bytes, const std::string& path);
  Status AddShards(const std::string& folder, const std::string& index_path);

  std::map<std::string, SafetensorsEntry> entries_;
  std::vector<std::string> paths_;
  std::vector<std::shared_ptr<const MappedFile>> files_;
  uint64_t data_bytes_ = 0;
};

}  // namespace kvasir
