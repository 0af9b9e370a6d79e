#include "kvasir/model/gguf_part.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <set>

namespace kvasir {
namespace {

static_assert(std::endian::native == std::endian::little, "the reader maps little-endian files");

constexpr uint64_t kDefaultAlignment = 32;
constexpr uint64_t kMinAlignment = 8;  // the format asks for a multiple of 8
constexpr uint64_t kMaxAlignment = uint64_t{1} << 30;
constexpr uint64_t kMaxKeyBytes = 65535;
constexpr uint64_t kMaxNameBytes = 64;
constexpr int kMaxArrayDepth = 4;
// Smallest encodings, for checking a count against the bytes left: a key of one byte with a
// one-byte value, and a tensor of one byte's name and one dimension.
constexpr uint64_t kMinEntryBytes = 8 + 1 + 4 + 1;
constexpr uint64_t kMinTensorBytes = 8 + 1 + 4 + 8 + 4 + 8;
constexpr uint64_t kMinStringBytes = 8;
constexpr uint64_t kMinArrayBytes = 4 + 8;

std::string_view Text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

class Parser {
 public:
  Parser(std::span<const std::byte> bytes, const std::string& name) : bytes_(bytes), name_(name) {}

  Result<GgufPart> Parse() {
    uint64_t n_tensor = 0;
    uint64_t n_entry = 0;
    KVASIR_RETURN_IF_ERROR(ParseHeader(&n_tensor, &n_entry));
    KVASIR_RETURN_IF_ERROR(ParseMetadata(n_entry));
    uint64_t alignment = 0;
    KVASIR_RETURN_IF_ERROR(FindAlignment(&alignment));
    KVASIR_RETURN_IF_ERROR(ParseTensors(n_tensor));
    KVASIR_RETURN_IF_ERROR(PlaceTensors(alignment));
    return std::move(part_);
  }

 private:
  // --- errors and bytes ---

  Status CorruptAt(uint64_t offset, std::string_view what) const {
    if (subject_.empty())
      return Status::Corruption(fmt::format("{}: byte {}: {}", name_, offset, what));
    return Status::Corruption(fmt::format("{}: {} '{}': byte {}: {}", name_, subject_kind_,
                                          Printable(subject_), offset, what));
  }
  Status Corrupt(std::string_view what) const { return CorruptAt(pos_, what); }

  uint64_t left() const { return bytes_.size() - pos_; }

  Status Take(uint64_t n, std::string_view what, std::span<const std::byte>* out) {
    if (n > left()) {
      return Corrupt(fmt::format("{} takes {} bytes, the file has {} left", what, n, left()));
    }
    *out = bytes_.subspan(pos_, n);
    pos_ += n;
    return Status::Ok();
  }

  template <typename T>
  Status Read(std::string_view what, T* out) {
    std::span<const std::byte> raw;
    KVASIR_RETURN_IF_ERROR(Take(sizeof(T), what, &raw));
    std::memcpy(out, raw.data(), sizeof(T));
    return Status::Ok();
  }

  // A count of things that take at least `min_bytes` each.
  Status ReadCount(std::string_view what, uint64_t min_bytes, uint64_t* count) {
    const uint64_t at = pos_;
    KVASIR_RETURN_IF_ERROR(Read(what, count));
    if (*count > left() / min_bytes) {
      return CorruptAt(at, fmt::format("{} is {}, but the {} bytes left hold at most {}", what,
                                       *count, left(), left() / min_bytes));
    }
    return Status::Ok();
  }

  Status ReadName(std::string_view what, uint64_t max_bytes, std::string_view* out) {
    const uint64_t at = pos_;
    uint64_t n = 0;
    KVASIR_RETURN_IF_ERROR(Read(what, &n));
    if (n == 0 || n > max_bytes) {
      return CorruptAt(at, fmt::format("{} has {} bytes, expected 1 to {}", what, n, max_bytes));
    }
    std::span<const std::byte> raw;
    KVASIR_RETURN_IF_ERROR(Take(n, what, &raw));
    *out = Text(raw);
    return Status::Ok();
  }

  // --- header ---

  Status ParseHeader(uint64_t* n_tensor, uint64_t* n_entry) {
    std::span<const std::byte> magic;
    KVASIR_RETURN_IF_ERROR(Take(4, "magic", &magic));
    if (Text(magic) != "GGUF") {
      return CorruptAt(0,
                       fmt::format("magic: expected 'GGUF', found '{}'", Printable(Text(magic))));
    }
    KVASIR_RETURN_IF_ERROR(Read("version", &part_.version));
    KVASIR_RETURN_IF_ERROR(CheckVersion());
    KVASIR_RETURN_IF_ERROR(ReadCount("tensor count", kMinTensorBytes, n_tensor));
    return ReadCount("metadata count", kMinEntryBytes, n_entry);
  }

  Status CheckVersion() const {
    const uint32_t version = part_.version;
    if (version == 2 || version == 3) return Status::Ok();
    const uint32_t swapped = __builtin_bswap32(version);
    if (swapped >= 1 && swapped <= 3) {
      return Status::Unsupported(
          fmt::format("{}: byte 4: big-endian GGUF version {}; only little-endian files are read",
                      name_, swapped));
    }
    if (version == 0) return CorruptAt(4, "version: expected 2 or 3, found 0");
    return Status::Unsupported(
        fmt::format("{}: byte 4: GGUF version {}; versions 2 and 3 are read", name_, version));
  }

  // --- metadata ---

  Status ParseMetadata(uint64_t n_entry) {
    std::set<std::string_view> seen;
    for (uint64_t i = 0; i < n_entry; ++i) {
      subject_ = {};
      const uint64_t at = pos_;
      GgufEntry entry;
      KVASIR_RETURN_IF_ERROR(ReadName("key", kMaxKeyBytes, &entry.key));
      subject_kind_ = "key";
      subject_ = entry.key;
      if (!seen.insert(entry.key).second) return CorruptAt(at, "the key occurs twice");
      KVASIR_RETURN_IF_ERROR(ParseValue(&entry.value));
      part_.metadata.push_back(entry);
    }
    subject_ = {};
    return Status::Ok();
  }

  Status ReadType(std::string_view what, GgufType* type) {
    const uint64_t at = pos_;
    uint32_t id = 0;
    KVASIR_RETURN_IF_ERROR(Read(what, &id));
    if (id > static_cast<uint32_t>(GgufType::kFloat64)) {
      return CorruptAt(at, fmt::format("{}: expected a type from 0 to 12, found {}", what, id));
    }
    *type = static_cast<GgufType>(id);
    return Status::Ok();
  }

  Status ParseValue(GgufValue* value) {
    KVASIR_RETURN_IF_ERROR(ReadType("value type", &value->type));
    value->element_type = value->type;
    if (value->type == GgufType::kArray) return ParseArray(value, 1);
    if (value->type == GgufType::kString) {
      uint64_t n = 0;
      KVASIR_RETURN_IF_ERROR(Read("string length", &n));
      value->offset = pos_;
      return Take(n, "string", &value->bytes);
    }
    value->offset = pos_;
    KVASIR_RETURN_IF_ERROR(Take(GgufElementBytes(value->type), "value", &value->bytes));
    return value->type == GgufType::kBool ? CheckBools(*value) : Status::Ok();
  }

  Status ParseArray(GgufValue* value, int depth) {
    if (depth > kMaxArrayDepth) {
      return Corrupt(fmt::format("arrays are nested more than {} deep", kMaxArrayDepth));
    }
    KVASIR_RETURN_IF_ERROR(ReadType("array element type", &value->element_type));
    const size_t element_bytes = GgufElementBytes(value->element_type);
    if (element_bytes > 0) {
      KVASIR_RETURN_IF_ERROR(ReadCount("array length", element_bytes, &value->count));
      value->offset = pos_;
      KVASIR_RETURN_IF_ERROR(Take(value->count * element_bytes, "array", &value->bytes));
      return value->element_type == GgufType::kBool ? CheckBools(*value) : Status::Ok();
    }
    const bool strings = value->element_type == GgufType::kString;
    KVASIR_RETURN_IF_ERROR(
        ReadCount("array length", strings ? kMinStringBytes : kMinArrayBytes, &value->count));
    value->offset = pos_;
    KVASIR_RETURN_IF_ERROR(strings ? SkipStrings(value->count) : SkipArrays(value->count, depth));
    value->bytes = bytes_.subspan(value->offset, pos_ - value->offset);
    return Status::Ok();
  }

  // A vocabulary has 256k of these: no Status per string.
  Status SkipStrings(uint64_t count) {
    for (uint64_t i = 0; i < count; ++i) {
      uint64_t n = 0;
      if (left() < sizeof(n)) {
        return Corrupt(fmt::format("string {} of {} starts past the end", i, count));
      }
      std::memcpy(&n, bytes_.data() + pos_, sizeof(n));
      if (n > left() - sizeof(n)) {
        return Corrupt(fmt::format("string {} of {} has {} bytes, the file has {} left", i, count,
                                   n, left() - sizeof(n)));
      }
      pos_ += sizeof(n) + n;
    }
    return Status::Ok();
  }

  Status SkipArrays(uint64_t count, int depth) {
    for (uint64_t i = 0; i < count; ++i) {
      GgufValue inner;
      KVASIR_RETURN_IF_ERROR(ParseArray(&inner, depth + 1));
    }
    return Status::Ok();
  }

  Status CheckBools(const GgufValue& value) const {
    for (size_t i = 0; i < value.bytes.size(); ++i) {
      const int found = std::to_integer<int>(value.bytes[i]);
      if (found > 1) {
        return CorruptAt(value.offset + i, fmt::format("bool: expected 0 or 1, found {}", found));
      }
    }
    return Status::Ok();
  }

  Status FindAlignment(uint64_t* alignment) const {
    *alignment = kDefaultAlignment;
    for (const GgufEntry& entry : part_.metadata) {
      if (entry.key != "general.alignment") continue;
      const GgufValue& value = entry.value;
      if (value.type != GgufType::kUint32 && value.type != GgufType::kUint64) {
        return Status::Corruption(
            fmt::format("{}: key 'general.alignment': byte {}: expected uint32, found {}", name_,
                        value.offset, GgufTypeName(value.type)));
      }
      *alignment = 0;
      std::memcpy(alignment, value.bytes.data(), value.bytes.size());
      if (!std::has_single_bit(*alignment) || *alignment < kMinAlignment ||
          *alignment > kMaxAlignment) {
        return Status::Corruption(fmt::format(
            "{}: key 'general.alignment': byte {}: expected a power of two from {} to {}, found {}",
            name_, value.offset, kMinAlignment, kMaxAlignment, *alignment));
      }
    }
    return Status::Ok();
  }

  // --- tensors ---

  Status ParseTensors(uint64_t n_tensor) {
    std::set<std::string_view> seen;
    for (uint64_t i = 0; i < n_tensor; ++i) {
      subject_ = {};
      const uint64_t at = pos_;
      GgufTensor tensor;
      KVASIR_RETURN_IF_ERROR(ReadName("tensor name", kMaxNameBytes, &tensor.name));
      subject_kind_ = "tensor";
      subject_ = tensor.name;
      if (!seen.insert(tensor.name).second) return CorruptAt(at, "the tensor occurs twice");
      KVASIR_RETURN_IF_ERROR(ParseShape(&tensor));
      KVASIR_RETURN_IF_ERROR(ParseTensorType(&tensor));
      offset_at_.push_back(pos_);
      KVASIR_RETURN_IF_ERROR(Read("offset", &tensor.offset));
      part_.tensors.push_back(tensor);
    }
    subject_ = {};
    return Status::Ok();
  }

  Status ParseShape(GgufTensor* tensor) {
    const uint64_t at = pos_;
    uint32_t n_dims = 0;
    KVASIR_RETURN_IF_ERROR(Read("dimension count", &n_dims));
    if (n_dims < 1 || n_dims > tensor->dims.size()) {
      return CorruptAt(at, fmt::format("expected 1 to 4 dimensions, found {}", n_dims));
    }
    tensor->n_dims = static_cast<int>(n_dims);
    int64_t n_elements = 1;
    for (uint32_t i = 0; i < n_dims; ++i) {
      KVASIR_RETURN_IF_ERROR(Read("dimension", &tensor->dims[i]));
      if (tensor->dims[i] == 0) return CorruptAt(at, fmt::format("dimension {} is 0", i));
      if (__builtin_mul_overflow(n_elements, tensor->dims[i], &n_elements)) {
        return CorruptAt(at,
                         fmt::format("more than 2^63 elements in shape {}", tensor->ShapeText()));
      }
    }
    return Status::Ok();
  }

  Status ParseTensorType(GgufTensor* tensor) {
    const uint64_t at = pos_;
    uint32_t id = 0;
    KVASIR_RETURN_IF_ERROR(Read("tensor type", &id));
    const TensorTypeInfo* info = FindTensorType(id);
    if (info == nullptr) {
      return Status::Unsupported(
          fmt::format("{}: tensor '{}': byte {}: type {} (id {}) is not read", name_,
                      Printable(subject_), at, GgmlTypeName(id), id));
    }
    if (tensor->dims[0] % info->block_elements != 0) {
      return CorruptAt(at, fmt::format("a row of {} elements is not a multiple of {}'s block of {}",
                                       tensor->dims[0], info->name, info->block_elements));
    }
    tensor->type = info->type;
    return Status::Ok();
  }

  // Offsets in the directory count from the data section, which starts at the next aligned byte.
  Status PlaceTensors(uint64_t alignment) {
    const uint64_t data_begin = (pos_ + alignment - 1) / alignment * alignment;
    subject_kind_ = "tensor";
    for (size_t i = 0; i < part_.tensors.size(); ++i) {
      subject_ = part_.tensors[i].name;
      KVASIR_RETURN_IF_ERROR(PlaceTensor(offset_at_[i], alignment, data_begin, &part_.tensors[i]));
    }
    return CheckDisjoint();
  }

  Status PlaceTensor(uint64_t at, uint64_t alignment, uint64_t data_begin,
                     GgufTensor* tensor) const {
    const uint64_t relative = tensor->offset;
    const TensorTypeInfo& info = InfoOf(tensor->type);
    uint64_t n_bytes = 0;
    if (__builtin_mul_overflow(tensor->n_elements() / info.block_elements,
                               uint64_t{info.block_bytes}, &n_bytes)) {
      return CorruptAt(at, fmt::format("shape {} has more than 2^64 bytes", tensor->ShapeText()));
    }
    if (relative % alignment != 0) {
      return CorruptAt(
          at, fmt::format("offset {} is not a multiple of the alignment {}", relative, alignment));
    }
    const uint64_t room = bytes_.size() > data_begin ? bytes_.size() - data_begin : 0;
    if (relative > room || n_bytes > room - relative) {
      return CorruptAt(at, fmt::format("{} bytes at offset {} of the data section, which has {}",
                                       n_bytes, relative, room));
    }
    tensor->offset = data_begin + relative;
    tensor->data = bytes_.subspan(tensor->offset, n_bytes);
    return Status::Ok();
  }

  Status CheckDisjoint() {
    std::vector<const GgufTensor*> order;
    for (const GgufTensor& tensor : part_.tensors) order.push_back(&tensor);
    std::sort(order.begin(), order.end(),
              [](const auto* a, const auto* b) { return a->offset < b->offset; });
    for (size_t i = 1; i < order.size(); ++i) {
      const uint64_t end = order[i - 1]->offset + order[i - 1]->data.size();
      if (end > order[i]->offset) {
        subject_ = order[i]->name;
        return CorruptAt(order[i]->offset,
                         fmt::format("overlaps tensor '{}', which ends at byte {}",
                                     Printable(order[i - 1]->name), end));
      }
    }
    return Status::Ok();
  }

  const std::span<const std::byte> bytes_;
  const std::string& name_;
  uint64_t pos_ = 0;
  GgufPart part_;
  std::vector<uint64_t> offset_at_;          // where each tensor's offset is written
  std::string_view subject_kind_, subject_;  // what is being parsed, for messages
};

}  // namespace

size_t GgufElementBytes(GgufType type) {
  switch (type) {
    case GgufType::kUint8:
    case GgufType::kInt8:
    case GgufType::kBool: return 1;
    case GgufType::kUint16:
    case GgufType::kInt16: return 2;
    case GgufType::kUint32:
    case GgufType::kInt32:
    case GgufType::kFloat32: return 4;
    case GgufType::kUint64:
    case GgufType::kInt64:
    case GgufType::kFloat64: return 8;
    case GgufType::kString:
    case GgufType::kArray: return 0;
  }
  return 0;
}

Result<GgufPart> ParseGgufPart(std::span<const std::byte> bytes, const std::string& name) {
  return Parser(bytes, name).Parse();
}

}  // namespace kvasir
