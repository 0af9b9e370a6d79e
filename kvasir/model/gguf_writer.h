// Writes GGUF version 3 files: metadata and a directory up front, then tensor bytes that callbacks
// stream, so that a file may be much larger than memory.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kvasir/kernels/tensor_type.h"
#include "kvasir/model/gguf.h"
#include "kvasir/status.h"

namespace kvasir {

// Takes the next bytes of the file.
using GgufSink = std::function<Status(std::span<const std::byte>)>;
// Gives all bytes of one tensor to the sink, in order, in pieces of any size.
using GgufSource = std::function<Status(const GgufSink& sink)>;

// Keys and names are written in the order of the calls and are not checked for duplicates, so that
// tests can write files that are wrong. Not thread-safe.
class GgufWriter {
 public:
  // `alignment` is a power of two; other than 32 it is also written as general.alignment.
  explicit GgufWriter(uint32_t alignment = 32);

  void AddU32(std::string_view key, uint32_t value);
  void AddU64(std::string_view key, uint64_t value);
  void AddF32(std::string_view key, float value);
  void AddBool(std::string_view key, bool value);
  void AddString(std::string_view key, std::string_view value);
  void AddStrings(std::string_view key, std::span<const std::string> values);
  void AddI32s(std::string_view key, std::span<const int32_t> values);
  void AddF32s(std::string_view key, std::span<const float> values);
  void AddBools(std::string_view key, const std::vector<bool>& values);
  // A value as the format encodes it, behind its type.
  void AddRaw(std::string_view key, GgufType type, std::string_view encoded);

  // `dims` are in ggml's order, row length first; the row is a multiple of the type's block.
  void AddTensor(std::string_view name, TensorType type, std::vector<uint64_t> dims,
                 GgufSource source);
  // The same from bytes that are copied.
  void AddTensor(std::string_view name, TensorType type, std::vector<uint64_t> dims,
                 std::span<const std::byte> bytes);

  // Tensor bytes of the whole file.
  uint64_t tensor_bytes() const;

  // Errors: those of the sink and the sources, and kInvalidArgument naming a tensor whose source
  // gave another number of bytes than its shape asks for.
  Status WriteTo(const GgufSink& sink) const;
  // Writes beside `path` and renames at the end: no torn file is left under that name.
  // `progress` gets bytes done and bytes in all; may be empty.
  Status WriteFile(const std::string& path,
                   const std::function<void(uint64_t, uint64_t)>& progress = {}) const;
  Result<std::string> ToBytes() const;

 private:
  struct PendingTensor {
    std::string name;
    TensorType type;
    std::vector<uint64_t> dims;
    uint64_t n_bytes;
    GgufSource source;
  };
  std::string Header() const;
  uint64_t Padded(uint64_t n) const { return (n + alignment_ - 1) / alignment_ * alignment_; }
  Status WriteTensor(const PendingTensor& tensor, const GgufSink& sink) const;

  uint32_t alignment_;
  uint64_t n_entry_ = 0;
  std::string entries_;
  std::vector<PendingTensor> tensors_;
};

}  // namespace kvasir
