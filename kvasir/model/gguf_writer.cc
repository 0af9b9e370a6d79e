#include "kvasir/model/gguf_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <utility>

namespace kvasir {
namespace {

template <typename T>
void Put(std::string* out, T value) {
  out->append(reinterpret_cast<const char*>(&value), sizeof(value));
}

void PutString(std::string* out, std::string_view text) {
  Put(out, static_cast<uint64_t>(text.size()));
  out->append(text);
}

std::string ArrayHeader(GgufType element, size_t count) {
  std::string out;
  Put(&out, static_cast<uint32_t>(element));
  Put(&out, static_cast<uint64_t>(count));
  return out;
}

template <typename T>
std::string Scalar(T value) {
  std::string out;
  Put(&out, value);
  return out;
}

std::span<const std::byte> Bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

uint64_t TensorBytes(TensorType type, std::span<const uint64_t> dims) {
  uint64_t n = RowBytes(type, dims[0]);
  for (const uint64_t dim : dims.subspan(1)) n *= dim;
  return n;
}

// A device or a pipe, which must not be replaced by a file.
bool IsSpecial(const std::string& path) {
  std::error_code ignored;
  const auto status = std::filesystem::status(path, ignored);
  return std::filesystem::exists(status) && !std::filesystem::is_regular_file(status);
}

// A file that takes its name when it is whole and disappears unless it is kept.
class PartialFile {
 public:
  explicit PartialFile(const std::string& path)
      : path_(path),
        partial_(IsSpecial(path) ? path : path + ".partial"),
        file_(std::fopen(partial_.c_str(), "wb")) {}
  ~PartialFile() {
    if (file_ != nullptr) std::fclose(file_);
    if (!kept_ && partial_ != path_) std::remove(partial_.c_str());
  }
  PartialFile(const PartialFile&) = delete;
  PartialFile& operator=(const PartialFile&) = delete;

  Status Check() const { return file_ != nullptr ? Status::Ok() : Error("cannot create"); }
  Status Append(std::span<const std::byte> bytes) {
    const size_t n = std::fwrite(bytes.data(), 1, bytes.size(), file_);
    return n == bytes.size() ? Status::Ok() : Error("cannot write");
  }
  Status Keep() {
    std::FILE* file = std::exchange(file_, nullptr);
    if (std::fclose(file) != 0) return Error("cannot write");
    if (partial_ != path_ && std::rename(partial_.c_str(), path_.c_str()) != 0) {
      return Error("cannot rename to its name");
    }
    kept_ = true;
    return Status::Ok();
  }

 private:
  Status Error(const char* what) const {
    return Status::IoError(fmt::format("{}: {}: {}", path_, what, std::strerror(errno)));
  }
  const std::string path_, partial_;
  std::FILE* file_;
  bool kept_ = false;
};

}  // namespace

GgufWriter::GgufWriter(uint32_t alignment) : alignment_(alignment) {
  if (alignment != 32) AddU32("general.alignment", alignment);
}

void GgufWriter::AddRaw(std::string_view key, GgufType type, std::string_view encoded) {
  PutString(&entries_, key);
  Put(&entries_, static_cast<uint32_t>(type));
  entries_.append(encoded);
  ++n_entry_;
}

void GgufWriter::AddU32(std::string_view key, uint32_t value) {
  AddRaw(key, GgufType::kUint32, Scalar(value));
}
void GgufWriter::AddU64(std::string_view key, uint64_t value) {
  AddRaw(key, GgufType::kUint64, Scalar(value));
}
void GgufWriter::AddF32(std::string_view key, float value) {
  AddRaw(key, GgufType::kFloat32, Scalar(value));
}
void GgufWriter::AddBool(std::string_view key, bool value) {
  AddRaw(key, GgufType::kBool, Scalar(static_cast<uint8_t>(value)));
}

void GgufWriter::AddString(std::string_view key, std::string_view value) {
  std::string encoded;
  PutString(&encoded, value);
  AddRaw(key, GgufType::kString, encoded);
}

void GgufWriter::AddStrings(std::string_view key, std::span<const std::string> values) {
  std::string encoded = ArrayHeader(GgufType::kString, values.size());
  for (const std::string& value : values) PutString(&encoded, value);
  AddRaw(key, GgufType::kArray, encoded);
}

void GgufWriter::AddI32s(std::string_view key, std::span<const int32_t> values) {
  std::string encoded = ArrayHeader(GgufType::kInt32, values.size());
  for (const int32_t value : values) Put(&encoded, value);
  AddRaw(key, GgufType::kArray, encoded);
}

void GgufWriter::AddF32s(std::string_view key, std::span<const float> values) {
  std::string encoded = ArrayHeader(GgufType::kFloat32, values.size());
  for (const float value : values) Put(&encoded, value);
  AddRaw(key, GgufType::kArray, encoded);
}

void GgufWriter::AddBools(std::string_view key, const std::vector<bool>& values) {
  std::string encoded = ArrayHeader(GgufType::kBool, values.size());
  for (const bool value : values) Put(&encoded, static_cast<uint8_t>(value));
  AddRaw(key, GgufType::kArray, encoded);
}

void GgufWriter::AddTensor(std::string_view name, TensorType type, std::vector<uint64_t> dims,
                           GgufSource source) {
  const uint64_t n_bytes = TensorBytes(type, dims);
  tensors_.push_back({std::string(name), type, std::move(dims), n_bytes, std::move(source)});
}

void GgufWriter::AddTensor(std::string_view name, TensorType type, std::vector<uint64_t> dims,
                           std::span<const std::byte> bytes) {
  auto copy = std::make_shared<const std::vector<std::byte>>(bytes.begin(), bytes.end());
  AddTensor(name, type, std::move(dims), [copy](const GgufSink& sink) { return sink(*copy); });
}

uint64_t GgufWriter::tensor_bytes() const {
  uint64_t n = 0;
  for (const PendingTensor& tensor : tensors_) n += tensor.n_bytes;
  return n;
}

std::string GgufWriter::Header() const {
  std::string out = "GGUF";
  Put(&out, uint32_t{3});
  Put(&out, static_cast<uint64_t>(tensors_.size()));
  Put(&out, n_entry_);
  out += entries_;
  uint64_t offset = 0;
  for (const PendingTensor& tensor : tensors_) {
    PutString(&out, tensor.name);
    Put(&out, static_cast<uint32_t>(tensor.dims.size()));
    for (const uint64_t dim : tensor.dims) Put(&out, dim);
    Put(&out, static_cast<uint32_t>(tensor.type));
    Put(&out, offset);
    offset += Padded(tensor.n_bytes);
  }
  if (!tensors_.empty()) out.resize(Padded(out.size()), '\0');
  return out;
}

Status GgufWriter::WriteTensor(const PendingTensor& tensor, const GgufSink& sink) const {
  uint64_t n_given = 0;
  const GgufSink counting = [&](std::span<const std::byte> bytes) {
    n_given += bytes.size();
    return sink(bytes);
  };
  KVASIR_RETURN_IF_ERROR(tensor.source(counting));
  if (n_given != tensor.n_bytes) {
    return Status::InvalidArgument(fmt::format("tensor '{}': expected {} bytes, its source gave {}",
                                               tensor.name, tensor.n_bytes, n_given));
  }
  return sink(Bytes(std::string(Padded(n_given) - n_given, '\0')));
}

Status GgufWriter::WriteTo(const GgufSink& sink) const {
  KVASIR_RETURN_IF_ERROR(sink(Bytes(Header())));
  for (const PendingTensor& tensor : tensors_) KVASIR_RETURN_IF_ERROR(WriteTensor(tensor, sink));
  return Status::Ok();
}

Status GgufWriter::WriteFile(const std::string& path,
                             const std::function<void(uint64_t, uint64_t)>& progress) const {
  PartialFile file(path);
  KVASIR_RETURN_IF_ERROR(file.Check());
  const uint64_t total = tensor_bytes();
  uint64_t done = 0;
  KVASIR_RETURN_IF_ERROR(WriteTo([&](std::span<const std::byte> bytes) {
    done += bytes.size();
    if (progress) progress(std::min(done, total), total);
    return file.Append(bytes);
  }));
  return file.Keep();
}

Result<std::string> GgufWriter::ToBytes() const {
  std::string out;
  KVASIR_RETURN_IF_ERROR(WriteTo([&](std::span<const std::byte> bytes) {
    out.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return Status::Ok();
  }));
  return out;
}

}  // namespace kvasir
