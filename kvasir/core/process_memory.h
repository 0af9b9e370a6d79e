// What the operating system says this process holds.
#pragma once

#include <cstdint>

#include "kvasir/status.h"

namespace kvasir {

struct ProcessMemory {
  int64_t anonymous = 0;  // bytes resident: heap, slabs, stacks
  int64_t file = 0;       // bytes resident: mapped weights, program and libraries
  int64_t peak = 0;       // largest resident size so far
};

// Errors: kUnsupported where /proc/self/status is not there to read.
Result<ProcessMemory> ReadProcessMemory();

// Makes `peak` start from what is resident now. Errors: kUnsupported where the system does not let
// a process do that.
Status ResetProcessPeak();

}  // namespace kvasir
