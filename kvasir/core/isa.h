// Which instruction set the kernels run on. Chosen once, from the CPU and from KVASIR_ISA.
#pragma once

#include <string_view>
#include <vector>

#include "kvasir/status.h"

namespace kvasir {

enum class Isa { kScalar, kAvx2, kAvx512 };  // kAvx512 means F, BW, VL, DQ, VBMI and VNNI

std::string_view IsaName(Isa isa);  // "scalar", "avx2", "avx512"

// Best level this CPU has.
Isa DetectedIsa();
// Levels that this CPU can run, scalar first: what tests walk.
std::vector<Isa> RunnableIsas();
// Level in use: KVASIR_ISA=scalar|avx2|avx512 if set and runnable, else DetectedIsa().
Isa ActiveIsa();
// Explains a KVASIR_ISA that names no level or one that this CPU lacks. Programs check it at start,
// so that a forced level never falls back in silence.
Status CheckIsaSetting();
// Overrides the level, for tests and benchmarks; `isa` must be runnable. Not thread-safe.
void ForceIsa(Isa isa);

}  // namespace kvasir
