#include "kvasir/core/isa.h"

#include <cpuid.h>
#include <fmt/format.h>

#include <cassert>
#include <cstdlib>
#include <optional>

namespace kvasir {
namespace {

std::optional<Isa> ParseIsa(std::string_view name) {
  for (Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512}) {
    if (IsaName(isa) == name) return isa;
  }
  return std::nullopt;
}

// clang 14's __builtin_cpu_supports has no name for F16C. That the system keeps the registers is
// part of what it answers for AVX2.
bool HasF16c() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}

Isa& Active() {
  static Isa active = [] {
    const char* setting = std::getenv("KVASIR_ISA");
    const std::optional<Isa> wanted = setting ? ParseIsa(setting) : std::nullopt;
    return wanted && *wanted <= DetectedIsa() ? *wanted : DetectedIsa();
  }();
  return active;
}

}  // namespace

std::string_view IsaName(Isa isa) {
  switch (isa) {
    case Isa::kScalar: return "scalar";
    case Isa::kAvx2: return "avx2";
    case Isa::kAvx512: return "avx512";
  }
  return "unknown";
}

Isa DetectedIsa() {
  static const Isa detected = [] {
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && HasF16c();
    const bool avx512 =
        avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vnni");
    return avx512 ? Isa::kAvx512 : avx2 ? Isa::kAvx2 : Isa::kScalar;
  }();
  return detected;
}

std::vector<Isa> RunnableIsas() {
  std::vector<Isa> isas;
  for (Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512}) {
    if (isa <= DetectedIsa()) isas.push_back(isa);
  }
  return isas;
}

Isa ActiveIsa() { return Active(); }

Status CheckIsaSetting() {
  const char* setting = std::getenv("KVASIR_ISA");
  if (setting == nullptr) return Status::Ok();
  const std::optional<Isa> wanted = ParseIsa(setting);
  if (!wanted) {
    return Status::InvalidArgument(
        fmt::format("KVASIR_ISA: expected scalar, avx2 or avx512, found '{}'", setting));
  }
  if (*wanted > DetectedIsa()) {
    return Status::Unsupported(
        fmt::format("KVASIR_ISA={}: this CPU goes up to {}", setting, IsaName(DetectedIsa())));
  }
  return Status::Ok();
}

void ForceIsa(Isa isa) {
  assert(isa <= DetectedIsa());
  Active() = isa;
}

}  // namespace kvasir
