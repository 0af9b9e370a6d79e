#include "kvasir/measure/machine.h"

#include <fmt/format.h>

#include <fstream>

#include "kvasir/core/isa.h"
#include "kvasir/core/thread_team.h"

namespace kvasir {
namespace {

std::string CpuName() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown";
}

std::string CompilerName() {
#if defined(__clang__)
  return fmt::format("clang {}.{}.{}", __clang_major__, __clang_minor__, __clang_patchlevel__);
#else
  return fmt::format("gcc {}.{}.{}", __GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__);
#endif
}

}  // namespace

Machine DescribeMachine() {
  Machine machine;
  machine.cpu = CpuName();
  machine.n_cpu = ThreadTeam::AvailableCpus();
  machine.isa = IsaName(ActiveIsa());
  machine.compiler = CompilerName();
  machine.flags = KVASIR_FLAGS;
  machine.commit = KVASIR_COMMIT;
#ifndef NDEBUG
  machine.assertions = true;
#endif
  return machine;
}

}  // namespace kvasir
