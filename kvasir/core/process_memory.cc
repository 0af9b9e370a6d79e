#include "kvasir/core/process_memory.h"

#include <charconv>
#include <fstream>
#include <string_view>

#include "kvasir/core/mapped_file.h"

namespace kvasir {
namespace {

// The number behind "Key:" in kibibytes, as bytes; 0 when the key is not there.
int64_t Field(std::string_view text, std::string_view key) {
  size_t at = text.find(key);
  if (at == std::string_view::npos) return 0;
  at = text.find_first_of("0123456789", at + key.size());
  if (at == std::string_view::npos) return 0;
  int64_t kib = 0;
  std::from_chars(text.data() + at, text.data() + text.size(), kib);
  return kib * 1024;
}

}  // namespace

Result<ProcessMemory> ReadProcessMemory() {
  Result<std::string> text = ReadFile("/proc/self/status", size_t{1} << 20);
  if (!text.ok()) return Status::Unsupported("/proc/self/status: " + text.status().message());
  return ProcessMemory{.anonymous = Field(*text, "RssAnon:"),
                       .file = Field(*text, "RssFile:"),
                       .peak = Field(*text, "VmHWM:")};
}

Status ResetProcessPeak() {
  std::ofstream file("/proc/self/clear_refs");
  file << "5" << std::flush;  // proc(5): resets the peak resident set size
  if (file.good()) return Status::Ok();
  return Status::Unsupported("/proc/self/clear_refs: the peak cannot be reset here");
}

}  // namespace kvasir
