// Reader of GGUF containers, versions 2 and 3, little-endian, single files and splits.
// Format: ggml's GGUF document. Everything is checked when the file is opened, so that what this
// class hands out can be used without further checks of bounds; tensor bytes themselves are not
// read.
#pragma once

#include <array>
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

// Values are those of the format.
enum class GgufType : uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};
std::string_view GgufTypeName(GgufType type);  // "uint32", "string", ...

// One metadata value, borrowed from the file.
struct GgufValue {
  GgufType type = GgufType::kUint8;
  GgufType element_type = GgufType::kUint8;  // of an array; `type` otherwise
  uint64_t count = 1;                        // elements of an array; 1 otherwise
  // A scalar's bytes, a string's text, or an array's elements as the file stores them: numbers
  // packed and unaligned, strings and inner arrays each behind their header.
  std::span<const std::byte> bytes;
  uint64_t offset = 0;  // of `bytes` in the file
};

struct GgufEntry {
  std::string_view key;
  GgufValue value;
};

struct GgufTensor {
  std::string_view name;
  TensorType type = TensorType::kF32;
  int n_dims = 0;
  std::array<uint64_t, 4> dims = {1, 1, 1, 1};  // dims[0] is the row length; unused ones are 1
  std::span<const std::byte> data;
  uint64_t offset = 0;  // of `data` in its file
  int part = 0;         // index of that file in the split

  uint64_t n_elements() const { return dims[0] * dims[1] * dims[2] * dims[3]; }
  // As a matrix of dims[0] columns; higher dimensions are rows.
  Tensor Matrix() const;
  // "[2048, 512]": ggml's order, row length first.
  std::string ShapeText() const;
};

// Views stay valid while one of `files()` (or the memory given to FromMemory) lives, wherever the
// object itself moves. Const members are safe to call from many threads.
class GgufFile {
 public:
  // `path` is a whole file or the first of a split ("...-00001-of-0000N.gguf"), whose other parts
  // are opened too.
  // Errors: kNotFound for a missing file; kUnsupported names a version, byte order or tensor type;
  // kCorruption names the key or tensor and the byte, what was expected and what was found.
  static Result<GgufFile> Open(const std::string& path);
  // The same over bytes that the caller keeps alive; `name` takes the path's place in messages.
  // A split is refused.
  static Result<GgufFile> FromMemory(std::span<const std::byte> bytes, const std::string& name);

  const std::string& path() const { return path_; }
  uint32_t version() const { return version_; }
  uint64_t file_bytes() const { return file_bytes_; }  // over all parts
  const std::vector<std::shared_ptr<const MappedFile>>& files() const { return files_; }

  // Metadata of the first part, in the file's order.
  const std::vector<GgufEntry>& metadata() const { return metadata_; }
  const GgufValue* Find(std::string_view key) const;
  bool Has(std::string_view key) const { return Find(key) != nullptr; }

  // Scalars. Integers of any width convert when the value fits; floats accept either width and
  // integers. Errors: kNotFound names an absent key; kCorruption one of another type or out of
  // range. The variants with a fallback return it when the key is absent, and only then.
  Result<uint32_t> GetU32(std::string_view key) const;
  Result<uint32_t> GetU32(std::string_view key, uint32_t fallback) const;
  Result<int32_t> GetI32(std::string_view key) const;
  Result<int32_t> GetI32(std::string_view key, int32_t fallback) const;
  Result<uint64_t> GetU64(std::string_view key) const;
  Result<uint64_t> GetU64(std::string_view key, uint64_t fallback) const;
  Result<float> GetF32(std::string_view key) const;
  Result<float> GetF32(std::string_view key, float fallback) const;
  Result<bool> GetBool(std::string_view key) const;
  Result<bool> GetBool(std::string_view key, bool fallback) const;
  Result<std::string_view> GetString(std::string_view key) const;
  Result<std::string_view> GetString(std::string_view key, std::string_view fallback) const;

  // Arrays, converted element by element under the same rules. A scalar is not an array of one.
  Result<std::vector<std::string_view>> GetStrings(std::string_view key) const;
  Result<std::vector<int32_t>> GetI32s(std::string_view key) const;
  Result<std::vector<uint32_t>> GetU32s(std::string_view key) const;
  Result<std::vector<float>> GetF32s(std::string_view key) const;
  Result<std::vector<bool>> GetBools(std::string_view key) const;

  // Of all parts, in the files' order.
  const std::vector<GgufTensor>& tensors() const { return tensors_; }
  const GgufTensor* FindTensor(std::string_view name) const;

 private:
  GgufFile() = default;
  Status AddPart(std::span<const std::byte> bytes, const std::string& path);
  Status OpenOtherParts();
  Status IndexTensors();
  Status Missing(std::string_view key) const;

  std::string path_;
  uint32_t version_ = 0;
  uint64_t file_bytes_ = 0;
  std::vector<std::shared_ptr<const MappedFile>> files_;
  std::vector<GgufEntry> metadata_;
  std::map<std::string_view, size_t> key_index_;
  std::vector<GgufTensor> tensors_;
  std::map<std::string_view, size_t> tensor_index_;
};

// Text from a file made fit for a message: unprintable bytes as \xNN, cut after 80 bytes.
std::string Printable(std::string_view text);

}  // namespace kvasir
