// Plain loads of a run of memory, once per instruction set: the yardstick of what a kernel that
// only reads could reach. Each returns the exclusive or of all 64-bit words, so that no load can be
// left out. `words` is 64-byte aligned, `n` a multiple of 64.
#pragma once

#include <cstdint>

#include "kvasir/core/isa.h"

namespace kvasir {

uint64_t ReadWordsScalar(const uint64_t* words, int64_t n);
uint64_t ReadWordsAvx2(const uint64_t* words, int64_t n);
uint64_t ReadWordsAvx512(const uint64_t* words, int64_t n);

// The variant of `isa`.
uint64_t ReadWords(Isa isa, const uint64_t* words, int64_t n);

}  // namespace kvasir
