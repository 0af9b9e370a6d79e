// Block Walsh-Hadamard transform, orthonormal and its own inverse. Every variant gives the same
// bits.
#pragma once

#include "kvasir/core/isa.h"

namespace kvasir {

// Largest power of two that divides n: the block a head of n channels is cut into, so 128 for 128
// but 32 for 96 and 16 for 80.
constexpr int HadamardBlock(int n) { return n & -n; }

struct HadamardKernels {
  // Transforms blocks of `block` channels, a power of two that divides n, in place.
  void (*row)(float* x, int n, int block);    // x (n)
  void (*lanes)(float* x, int n, int block);  // x (n, 16): 16 rows at once, channel-major
};

const HadamardKernels& GetHadamardKernels(Isa isa);
const HadamardKernels& ActiveHadamardKernels();

}  // namespace kvasir
