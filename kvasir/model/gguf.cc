#include "kvasir/model/gguf.h"

#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <type_traits>
#include <utility>

#include "kvasir/model/gguf_part.h"

namespace kvasir {
namespace {

// Calls `visit` with the number at `p` in its own C++ type. `type` is neither string nor array.
template <typename Visit>
auto VisitNumber(GgufType type, const std::byte* p, const Visit& visit) {
  const auto load = [p]<typename T>(T number) {
    std::memcpy(&number, p, sizeof(T));
    return number;
  };
  switch (type) {
    case GgufType::kUint8:
    case GgufType::kBool: return visit(load(uint8_t{}));
    case GgufType::kInt8: return visit(load(int8_t{}));
    case GgufType::kUint16: return visit(load(uint16_t{}));
    case GgufType::kInt16: return visit(load(int16_t{}));
    case GgufType::kUint32: return visit(load(uint32_t{}));
    case GgufType::kInt32: return visit(load(int32_t{}));
    case GgufType::kFloat32: return visit(load(float{}));
    case GgufType::kInt64: return visit(load(int64_t{}));
    case GgufType::kFloat64: return visit(load(double{}));
    case GgufType::kUint64:
    default: return visit(load(uint64_t{}));
  }
}

template <typename T>
constexpr std::string_view kWanted = "";
template <>
constexpr std::string_view kWanted<uint32_t> = "an integer from 0 to 4294967295";
template <>
constexpr std::string_view kWanted<int32_t> = "an integer from -2147483648 to 2147483647";
template <>
constexpr std::string_view kWanted<uint64_t> = "an unsigned integer";
template <>
constexpr std::string_view kWanted<float> = "a number";
template <>
constexpr std::string_view kWanted<bool> = "bool";

template <typename To>
bool Accepts(GgufType from) {
  const bool is_float = from == GgufType::kFloat32 || from == GgufType::kFloat64;
  const bool is_bool = from == GgufType::kBool;
  if (std::is_same_v<To, bool>) return is_bool;
  return !is_bool && (std::is_floating_point_v<To> || !is_float);
}

// The number at `p`, or nothing when `To` cannot hold it. `Accepts<To>(type)` holds.
template <typename To>
std::optional<To> Convert(GgufType type, const std::byte* p) {
  return VisitNumber(type, p, [](auto number) -> std::optional<To> {
    if constexpr (std::is_integral_v<decltype(number)> && std::is_integral_v<To> &&
                  !std::is_same_v<To, bool>) {
      if (!std::in_range<To>(number)) return std::nullopt;
    }
    if constexpr (std::is_same_v<decltype(number), double>) {
      if (std::isfinite(number) && std::fabs(number) > std::numeric_limits<float>::max()) {
        return std::nullopt;
      }
    }
    return static_cast<To>(number);
  });
}

std::string NumberText(GgufType type, const std::byte* p) {
  return VisitNumber(type, p, [](auto number) { return fmt::format("{}", +number); });
}

std::string ValueTypeText(const GgufValue& value) {
  if (value.type != GgufType::kArray) return std::string(GgufTypeName(value.type));
  return fmt::format("array of {} {}", value.count, GgufTypeName(value.element_type));
}

Status WrongType(const std::string& path, std::string_view key, const GgufValue& value,
                 std::string_view wanted, std::string_view found) {
  return Status::Corruption(fmt::format("{}: key '{}': byte {}: expected {}, found {}", path,
                                        Printable(key), value.offset, wanted, found));
}

template <typename T>
Result<T> ScalarOf(const std::string& path, std::string_view key, const GgufValue& value) {
  if (GgufElementBytes(value.type) == 0 || !Accepts<T>(value.type)) {
    return WrongType(path, key, value, kWanted<T>, ValueTypeText(value));
  }
  const std::optional<T> number = Convert<T>(value.type, value.bytes.data());
  if (!number) {
    return WrongType(path, key, value, kWanted<T>, NumberText(value.type, value.bytes.data()));
  }
  return *number;
}

template <typename T>
Result<std::vector<T>> ArrayOf(const std::string& path, std::string_view key,
                               const GgufValue& value) {
  const size_t element_bytes = GgufElementBytes(value.element_type);
  if (value.type != GgufType::kArray || element_bytes == 0 || !Accepts<T>(value.element_type)) {
    return WrongType(path, key, value, fmt::format("an array of {}", kWanted<T>),
                     ValueTypeText(value));
  }
  std::vector<T> out(value.count);
  for (uint64_t i = 0; i < value.count; ++i) {
    const std::byte* p = value.bytes.data() + i * element_bytes;
    const std::optional<T> number = Convert<T>(value.element_type, p);
    if (!number) {
      return WrongType(path, key, value, fmt::format("{} as element {}", kWanted<T>, i),
                       NumberText(value.element_type, p));
    }
    out[i] = *number;
  }
  return out;
}

std::string_view TextOf(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

Result<std::string_view> StringOf(const std::string& path, std::string_view key,
                                  const GgufValue& value) {
  if (value.type != GgufType::kString) {
    return WrongType(path, key, value, "string", ValueTypeText(value));
  }
  return TextOf(value.bytes);
}

// "-00001-of-00003.gguf" for part 0 of 3.
std::string SplitSuffix(uint32_t part, uint32_t n_part) {
  return fmt::format("-{:05d}-of-{:05d}.gguf", part + 1, n_part);
}

}  // namespace

std::string_view GgufTypeName(GgufType type) {
  static constexpr std::string_view kNames[] = {"uint8",  "int8",    "uint16", "int16",  "uint32",
                                                "int32",  "float32", "bool",   "string", "array",
                                                "uint64", "int64",   "float64"};
  return kNames[static_cast<uint32_t>(type)];
}

std::string Printable(std::string_view text) {
  constexpr size_t kMaxBytes = 80;
  std::string out;
  for (const char c : text.substr(0, kMaxBytes)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte >= 0x7f) {
      out += fmt::format("\\x{:02x}", byte);
    } else {
      out += c;
    }
  }
  if (text.size() > kMaxBytes) out += "...";
  return out;
}

Tensor GgufTensor::Matrix() const {
  return {type, static_cast<int64_t>(dims[1] * dims[2] * dims[3]), static_cast<int64_t>(dims[0]),
          data.data(), RowBytes(type, dims[0])};
}

std::string GgufTensor::ShapeText() const {
  std::string text = "[";
  for (int i = 0; i < n_dims; ++i) text += fmt::format("{}{}", i == 0 ? "" : ", ", dims[i]);
  return text + "]";
}

Result<GgufFile> GgufFile::Open(const std::string& path) {
  KVASIR_ASSIGN_OR_RETURN(auto mapped, MappedFile::Open(path));
  GgufFile file;
  file.path_ = path;
  KVASIR_RETURN_IF_ERROR(file.AddPart(mapped->bytes(), path));
  file.files_.push_back(std::move(mapped));
  KVASIR_RETURN_IF_ERROR(file.OpenOtherParts());
  KVASIR_RETURN_IF_ERROR(file.IndexTensors());
  return file;
}

Result<GgufFile> GgufFile::FromMemory(std::span<const std::byte> bytes, const std::string& name) {
  GgufFile file;
  file.path_ = name;
  KVASIR_RETURN_IF_ERROR(file.AddPart(bytes, name));
  KVASIR_ASSIGN_OR_RETURN(const uint32_t n_part, file.GetU32("split.count", 0));
  if (n_part > 1) {
    return Status::Unsupported(
        fmt::format("{}: split.count is {}; a split is opened from files", name, n_part));
  }
  KVASIR_RETURN_IF_ERROR(file.IndexTensors());
  return file;
}

// The first call also sets the metadata.
Status GgufFile::AddPart(std::span<const std::byte> bytes, const std::string& path) {
  KVASIR_ASSIGN_OR_RETURN(GgufPart part, ParseGgufPart(bytes, path));
  const int index = static_cast<int>(files_.size());
  if (index == 0) {
    version_ = part.version;
    metadata_ = std::move(part.metadata);
    for (size_t i = 0; i < metadata_.size(); ++i) key_index_.emplace(metadata_[i].key, i);
  }
  file_bytes_ += bytes.size();
  for (GgufTensor& tensor : part.tensors) {
    tensor.part = index;
    tensors_.push_back(tensor);
  }
  return Status::Ok();
}

Status GgufFile::OpenOtherParts() {
  KVASIR_ASSIGN_OR_RETURN(const uint32_t n_part, GetU32("split.count", 0));
  if (n_part <= 1) return Status::Ok();
  KVASIR_ASSIGN_OR_RETURN(const uint32_t first, GetU32("split.no", 0));
  if (first != 0) {
    return Status::InvalidArgument(fmt::format(
        "{}: is part {} of a split of {}; give the first file", path_, first + 1, n_part));
  }
  const std::string suffix = SplitSuffix(0, n_part);
  if (!path_.ends_with(suffix)) {
    return Status::InvalidArgument(fmt::format(
        "{}: split.count is {}, so the name must end with '{}'", path_, n_part, suffix));
  }
  const std::string stem = path_.substr(0, path_.size() - suffix.size());
  for (uint32_t i = 1; i < n_part; ++i) {
    KVASIR_ASSIGN_OR_RETURN(auto mapped, MappedFile::Open(stem + SplitSuffix(i, n_part)));
    GgufFile part;
    part.path_ = mapped->path();
    KVASIR_RETURN_IF_ERROR(part.AddPart(mapped->bytes(), part.path_));
    KVASIR_ASSIGN_OR_RETURN(const uint32_t number, part.GetU32("split.no"));
    KVASIR_ASSIGN_OR_RETURN(const uint32_t count, part.GetU32("split.count"));
    if (number != i || count != n_part) {
      return Status::Corruption(fmt::format("{}: expected split.no {} of {}, found {} of {}",
                                            part.path_, i, n_part, number, count));
    }
    for (GgufTensor& tensor : part.tensors_) {
      tensor.part = static_cast<int>(i);
      tensors_.push_back(tensor);
    }
    file_bytes_ += part.file_bytes_;
    files_.push_back(std::move(mapped));
  }
  KVASIR_ASSIGN_OR_RETURN(const uint64_t n_tensor, GetU64("split.tensors.count", tensors_.size()));
  if (n_tensor != tensors_.size()) {
    return Status::Corruption(fmt::format("{}: split.tensors.count is {}, the {} parts hold {}",
                                          path_, n_tensor, n_part, tensors_.size()));
  }
  return Status::Ok();
}

Status GgufFile::IndexTensors() {
  for (size_t i = 0; i < tensors_.size(); ++i) {
    const auto [it, fresh] = tensor_index_.emplace(tensors_[i].name, i);
    if (!fresh) {
      return Status::Corruption(fmt::format("{}: tensor '{}' is in part {} and in part {}", path_,
                                            Printable(tensors_[i].name),
                                            tensors_[it->second].part + 1, tensors_[i].part + 1));
    }
  }
  return Status::Ok();
}

const GgufValue* GgufFile::Find(std::string_view key) const {
  const auto it = key_index_.find(key);
  return it == key_index_.end() ? nullptr : &metadata_[it->second].value;
}

const GgufTensor* GgufFile::FindTensor(std::string_view name) const {
  const auto it = tensor_index_.find(name);
  return it == tensor_index_.end() ? nullptr : &tensors_[it->second];
}

Status GgufFile::Missing(std::string_view key) const {
  return Status::NotFound(fmt::format("{}: key '{}' is missing", path_, key));
}

#define KVASIR_GGUF_GET(name, type, read)                   \
  Result<type> GgufFile::name(std::string_view key) const { \
    const GgufValue* value = Find(key);                     \
    if (value == nullptr) return Missing(key);              \
    return read(path_, key, *value);                        \
  }
#define KVASIR_GGUF_GET_OR(name, type)                                     \
  Result<type> GgufFile::name(std::string_view key, type fallback) const { \
    if (!Has(key)) return fallback;                                        \
    return name(key);                                                      \
  }
KVASIR_GGUF_GET(GetU32, uint32_t, ScalarOf<uint32_t>)
KVASIR_GGUF_GET(GetI32, int32_t, ScalarOf<int32_t>)
KVASIR_GGUF_GET(GetU64, uint64_t, ScalarOf<uint64_t>)
KVASIR_GGUF_GET(GetF32, float, ScalarOf<float>)
KVASIR_GGUF_GET(GetBool, bool, ScalarOf<bool>)
KVASIR_GGUF_GET(GetString, std::string_view, StringOf)
KVASIR_GGUF_GET(GetI32s, std::vector<int32_t>, ArrayOf<int32_t>)
KVASIR_GGUF_GET(GetU32s, std::vector<uint32_t>, ArrayOf<uint32_t>)
KVASIR_GGUF_GET(GetF32s, std::vector<float>, ArrayOf<float>)
KVASIR_GGUF_GET(GetBools, std::vector<bool>, ArrayOf<bool>)
KVASIR_GGUF_GET_OR(GetU32, uint32_t)
KVASIR_GGUF_GET_OR(GetI32, int32_t)
KVASIR_GGUF_GET_OR(GetU64, uint64_t)
KVASIR_GGUF_GET_OR(GetF32, float)
KVASIR_GGUF_GET_OR(GetBool, bool)
KVASIR_GGUF_GET_OR(GetString, std::string_view)
#undef KVASIR_GGUF_GET
#undef KVASIR_GGUF_GET_OR

Result<std::vector<std::string_view>> GgufFile::GetStrings(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return Missing(key);
  if (value->type != GgufType::kArray || value->element_type != GgufType::kString) {
    return WrongType(path_, key, *value, "an array of string", ValueTypeText(*value));
  }
  std::vector<std::string_view> out;
  out.reserve(value->count);
  const std::string_view text = TextOf(value->bytes);
  for (size_t pos = 0; pos < text.size();) {
    uint64_t n = 0;
    std::memcpy(&n, text.data() + pos, sizeof(n));
    out.push_back(text.substr(pos + sizeof(n), n));
    pos += sizeof(n) + n;
  }
  return out;
}

}  // namespace kvasir
