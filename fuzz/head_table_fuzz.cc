// Text as a table of attention heads.
#include <cstddef>
#include <cstdint>
#include <string>

#include "kvasir/policy/head_table.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto table = kvasir::ParseHeadTable(text, "input");
  if (!table.ok()) {
    if (table.status().message().empty()) __builtin_trap();
    return 0;
  }
  const size_t n = static_cast<size_t>(table->n_layer) * static_cast<size_t>(table->n_head);
  if (table->echo.size() != n || table->induction.size() != n || table->area.size() != n) {
    __builtin_trap();
  }
  if (kvasir::TopShare(table->area, 0.5).size() > n) __builtin_trap();
  return 0;
}
