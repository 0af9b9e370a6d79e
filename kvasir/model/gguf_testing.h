// GGUF files in memory for tests: the bytes of a small model and copies of it with changes.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kvasir/model/gguf.h"
#include "kvasir/model/gguf_writer.h"

namespace kvasir::testing_gguf {

inline std::span<const std::byte> Bytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

// A synthetic model of a tiny shape.
std::string TinyModel(std::string_view shape, TensorType type = TensorType::kF32);

struct Edit {
  std::vector<std::string_view> drop_keys = {};  // exact names
  std::vector<std::string_view> drop_tensors = {};
  std::function<void(GgufWriter&)> add = {};  // called after the kept metadata and tensors
};

// The same file without what `edit` drops and with what it adds. `bytes` must be a valid file.
std::string Rewrite(std::string_view bytes, const Edit& edit);

}  // namespace kvasir::testing_gguf
