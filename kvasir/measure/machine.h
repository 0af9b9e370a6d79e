// What a figure was measured on: printed with every benchmark.
#pragma once

#include <string>

namespace kvasir {

struct Machine {
  std::string cpu = {};  // the processor's own name
  int n_cpu = 0;         // that this process may run on
  std::string isa = {};  // the level that the kernels use
  std::string compiler = {};
  std::string flags = {};
  std::string commit =
      {};  // `git describe` when the build was configured; "unknown" outside a checkout
  bool assertions = false;
};

Machine DescribeMachine();

}  // namespace kvasir
