#include "kvasir/model/gguf_testing.h"

#include <algorithm>
#include <cassert>

#include "kvasir/model/synth.h"

namespace kvasir::testing_gguf {
namespace {

template <typename T>
std::string Encoded(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof(value)};
}

// What follows a value's type in the file.
std::string EncodedValue(const GgufValue& value) {
  std::string out;
  if (value.type == GgufType::kArray) {
    out = Encoded(static_cast<uint32_t>(value.element_type)) + Encoded(value.count);
  } else if (value.type == GgufType::kString) {
    out = Encoded(static_cast<uint64_t>(value.bytes.size()));
  }
  out.append(reinterpret_cast<const char*>(value.bytes.data()), value.bytes.size());
  return out;
}

bool Contains(const std::vector<std::string_view>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

std::string TinyModel(std::string_view shape, TensorType type) {
  auto found = FindSynthShape(shape);
  assert(found.ok());
  auto writer = MakeSynthModel(*found, {.type = type, .n_thread = 1}, nullptr);
  assert(writer.ok());
  return writer->ToBytes().value();
}

std::string Rewrite(std::string_view bytes, const Edit& edit) {
  auto file = GgufFile::FromMemory(Bytes(bytes), "original");
  assert(file.ok());
  GgufWriter writer;
  for (const GgufEntry& entry : file->metadata()) {
    if (Contains(edit.drop_keys, entry.key)) continue;
    writer.AddRaw(entry.key, entry.value.type, EncodedValue(entry.value));
  }
  for (const GgufTensor& tensor : file->tensors()) {
    if (Contains(edit.drop_tensors, tensor.name)) continue;
    writer.AddTensor(tensor.name, tensor.type,
                     {tensor.dims.begin(), tensor.dims.begin() + tensor.n_dims}, tensor.data);
  }
  if (edit.add) edit.add(writer);
  return writer.ToBytes().value();
}

}  // namespace kvasir::testing_gguf
