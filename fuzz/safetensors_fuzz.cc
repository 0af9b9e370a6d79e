// Opens arbitrary bytes as a safetensors file and reads every byte of what it hands out.
#include <cstddef>
#include <cstdint>

#include "kvasir/model/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto file = kvasir::Safetensors::FromMemory(std::as_bytes(std::span(data, size)), "fuzz");
  if (!file.ok()) return 0;
  volatile uint8_t sink = 0;
  uint64_t n_byte = 0;
  for (const auto& [name, entry] : file->entries()) {
    for (const std::byte b : entry.data) sink = sink ^ static_cast<uint8_t>(b);
    n_byte += entry.data.size();
  }
  if (n_byte != file->data_bytes()) __builtin_trap();
  return 0;
}
