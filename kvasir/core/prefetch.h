// Brings an object nearer that will be read soon.
#pragma once

#include <cstddef>

namespace kvasir {

inline void PrefetchBytes(const void* at, size_t bytes) {
  for (size_t line = 0; line < bytes; line += 64) {
    __builtin_prefetch(static_cast<const char*>(at) + line, 0, 2);  // for the second cache
  }
}

}  // namespace kvasir
