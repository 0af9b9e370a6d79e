#include "kvasir/model/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "kvasir/core/join.h"
#include "kvasir/model/gguf.h"
#include "kvasir/model/json_file.h"
#include "kvasir/model/safetensors_header.h"

namespace kvasir {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

constexpr uint64_t kLengthBytes = 8;

std::optional<TensorType> TypeOfDtype(std::string_view dtype) {
  if (dtype == "F32") return TensorType::kF32;
  if (dtype == "F16") return TensorType::kF16;
  if (dtype == "BF16") return TensorType::kBF16;
  return std::nullopt;
}

// The header's text, checked against the file's size.
Result<std::string_view> HeaderText(std::span<const std::byte> bytes, const std::string& path) {
  if (bytes.size() < kLengthBytes) {
    return Status::Corruption(
        fmt::format("{}: byte 0: expected a header length of 8 bytes, found a file of {} bytes",
                    path, bytes.size()));
  }
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), kLengthBytes);
  if (length > kMaxSafetensorsHeader) {
    return Status::Corruption(
        fmt::format("{}: byte 0: expected a header of at most {} bytes, found a length of {}", path,
                    kMaxSafetensorsHeader, length));
  }
  if (length > bytes.size() - kLengthBytes) {
    return Status::Corruption(
        fmt::format("{}: byte 0: expected a header that ends within the file of {} bytes, found a "
                    "length of {}",
                    path, bytes.size(), length));
  }
  return std::string_view(reinterpret_cast<const char*>(bytes.data()) + kLengthBytes, length);
}

// Bytes that the claimed shape takes. Nothing when they do not fit 64 bits.
std::optional<uint64_t> BytesOf(const SafetensorsClaim& claim, TensorType type) {
  uint64_t n = InfoOf(type).block_bytes;
  bool overflow = false;
  for (const uint64_t dim : claim.shape) {
    overflow |= dim > static_cast<uint64_t>(INT64_MAX) || __builtin_mul_overflow(n, dim, &n);
  }
  return overflow ? std::nullopt : std::optional(n);
}

Result<SafetensorsEntry> CheckClaim(const SafetensorsClaim& claim, std::span<const std::byte> data,
                                    const std::string& where) {
  const std::optional<TensorType> type = TypeOfDtype(claim.dtype);
  if (!type) {
    return Status::Unsupported(
        fmt::format("{}: dtype {}: expected F32, F16 or BF16", where, Printable(claim.dtype)));
  }
  const std::optional<uint64_t> n_byte = BytesOf(claim, *type);
  if (!n_byte) {
    return Status::Corruption(
        fmt::format("{}: shape [{}] overflows 64 bits", where, Join(claim.shape)));
  }
  if (claim.begin > claim.end || claim.end > data.size()) {
    return Status::Corruption(
        fmt::format("{}: expected data_offsets within {} bytes of data, found [{}, {}]", where,
                    data.size(), claim.begin, claim.end));
  }
  if (claim.end - claim.begin != *n_byte) {
    return Status::Corruption(fmt::format(
        "{}: expected {} bytes for {} of shape [{}], found data_offsets [{}, {}] of {} bytes",
        where, *n_byte, claim.dtype, Join(claim.shape), claim.begin, claim.end,
        claim.end - claim.begin));
  }
  SafetensorsEntry entry;
  entry.type = *type;
  entry.shape.assign(claim.shape.begin(), claim.shape.end());
  entry.data = data.subspan(claim.begin, *n_byte);
  return entry;
}

// Tensors lie one after the other without a gap, as the format demands: an overlap or a hole is a
// file that somebody tampered with or that was cut and glued.
Status CheckContiguous(std::vector<const SafetensorsClaim*> claims, uint64_t n_data,
                       const std::string& path) {
  std::sort(claims.begin(), claims.end(), [](const auto* a, const auto* b) {
    return std::pair(a->begin, a->end) < std::pair(b->begin, b->end);
  });
  uint64_t position = 0;
  for (const SafetensorsClaim* claim : claims) {
    if (claim->begin != position) {
      return Status::Corruption(
          fmt::format("{}: tensor {}: expected data_offsets to begin at byte {}, where the tensor "
                      "before it ends, found {}",
                      path, Printable(claim->name), position, claim->begin));
    }
    position = claim->end;
  }
  if (position != n_data) {
    return Status::Corruption(
        fmt::format("{}: expected {} bytes of data after the header, as its tensors say, found {}",
                    path, position, n_data));
  }
  return Status::Ok();
}

// Shard names come from outside: they must stay inside the folder.
bool IsPlainFileName(std::string_view name) {
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/\\\0", 3)) == std::string_view::npos;
}

// Tensor name -> shard file name, as the index lists them.
Result<std::map<std::string, std::string>> ReadWeightMap(const std::string& index_path) {
  KVASIR_ASSIGN_OR_RETURN(const auto index, ReadJsonFile(index_path));
  const auto found = index.find("weight_map");
  if (found == index.end() || !found->is_object()) {
    return Status::Corruption(
        fmt::format("{}: weight_map: expected an object of file names", index_path));
  }
  std::map<std::string, std::string> files;
  for (const auto& [tensor, file] : found->items()) {
    if (!file.is_string() || !IsPlainFileName(file.get_ref<const std::string&>())) {
      return Status::Corruption(
          fmt::format("{}: weight_map: tensor {}: expected the name of a file in the same folder",
                      index_path, Printable(tensor)));
    }
    files[tensor] = file.get<std::string>();
  }
  return files;
}

}  // namespace

std::string SafetensorsEntry::ShapeText() const { return fmt::format("[{}]", Join(shape)); }

Result<Safetensors> Safetensors::OpenFolder(const std::string& folder) {
  const std::string single = folder + "/model.safetensors";
  const std::string index = folder + "/model.safetensors.index.json";
  Safetensors file;
  Status status = file.AddFile(single);
  if (status.code() == StatusCode::kNotFound) {
    status = file.AddShards(folder, index);
    if (status.code() == StatusCode::kNotFound && file.paths_.empty()) {
      return Status::NotFound(
          fmt::format("{}: no model.safetensors and no model.safetensors.index.json with its "
                      "shards ({})",
                      folder, status.message()));
    }
  }
  if (!status.ok()) return status;
  return file;
}

Result<Safetensors> Safetensors::OpenFile(const std::string& path) {
  Safetensors file;
  KVASIR_RETURN_IF_ERROR(file.AddFile(path));
  return file;
}

Result<Safetensors> Safetensors::FromMemory(std::span<const std::byte> bytes,
                                            const std::string& name) {
  Safetensors file;
  KVASIR_RETURN_IF_ERROR(file.AddBytes(bytes, name));
  return file;
}

const SafetensorsEntry* Safetensors::Find(const std::string& name) const {
  const auto found = entries_.find(name);
  return found == entries_.end() ? nullptr : &found->second;
}

Status Safetensors::AddFile(const std::string& path) {
  KVASIR_ASSIGN_OR_RETURN(auto file, MappedFile::Open(path));
  files_.push_back(file);
  return AddBytes(file->bytes(), path);
}

Status Safetensors::AddBytes(std::span<const std::byte> bytes, const std::string& path) {
  KVASIR_ASSIGN_OR_RETURN(const std::string_view header, HeaderText(bytes, path));
  KVASIR_ASSIGN_OR_RETURN(const auto claims, ParseSafetensorsHeader(header, path));
  const std::span<const std::byte> data = bytes.subspan(kLengthBytes + header.size());
  std::vector<const SafetensorsClaim*> ordered;
  for (const SafetensorsClaim& claim : claims) {
    const std::string where = fmt::format("{}: tensor {}", path, Printable(claim.name));
    KVASIR_ASSIGN_OR_RETURN(SafetensorsEntry entry, CheckClaim(claim, data, where));
    entry.offset = kLengthBytes + header.size() + claim.begin;
    entry.shard = static_cast<int>(paths_.size());
    const auto [existing, inserted] = entries_.emplace(claim.name, std::move(entry));
    if (!inserted) {
      return Status::Corruption(fmt::format("{}: already in {}", where,
                                            paths_[static_cast<size_t>(existing->second.shard)]));
    }
    ordered.push_back(&claim);
  }
  KVASIR_RETURN_IF_ERROR(CheckContiguous(std::move(ordered), data.size(), path));
  paths_.push_back(path);
  data_bytes_ += data.size();
  return Status::Ok();
}

Status Safetensors::AddShards(const std::string& folder, const std::string& index_path) {
  KVASIR_ASSIGN_OR_RETURN(const auto weight_map, ReadWeightMap(index_path));
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : weight_map) shards.insert(shard);
  for (const std::string& shard : shards) {
    KVASIR_RETURN_IF_ERROR(AddFile(folder + "/" + shard).WithContext(index_path));
  }
  for (const auto& [tensor, shard] : weight_map) {
    const SafetensorsEntry* entry = Find(tensor);
    const std::string path = folder + "/" + shard;
    if (entry == nullptr || paths_[static_cast<size_t>(entry->shard)] != path) {
      return Status::Corruption(fmt::format("{}: tensor {}: expected in {}, not found there",
                                            index_path, Printable(tensor), path));
    }
  }
  return Status::Ok();
}

}  // namespace kvasir
