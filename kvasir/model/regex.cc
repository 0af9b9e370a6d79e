#define PCRE2_CODE_UNIT_WIDTH 8
#include "kvasir/model/regex.h"

#include <fmt/core.h>
#include <pcre2.h>

#include <cctype>
#include <optional>
#include <string>

namespace kvasir {
namespace {

constexpr size_t kMaxPattern = 64 << 10;
constexpr uint32_t kMaxParens = 100;
// Interpreted matching of one word takes a few hundred steps; JIT counts far fewer.
constexpr uint32_t kMatchLimit = 5'000'000;
constexpr uint32_t kHeapLimitKib = 64 << 10;
constexpr size_t kJitStackStart = 32 << 10;
constexpr size_t kJitStackMax = 16 << 20;

// What matching writes to. One per thread serves all patterns: only the whole match is asked for.
struct Scratch {
  pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  pcre2_jit_stack* stack = pcre2_jit_stack_create(kJitStackStart, kJitStackMax, nullptr);

  Scratch() {
    if (context == nullptr) return;
    pcre2_set_match_limit(context, kMatchLimit);
    pcre2_set_heap_limit(context, kHeapLimitKib);
    if (stack != nullptr) pcre2_jit_stack_assign(context, nullptr, stack);
  }
  ~Scratch() {
    pcre2_jit_stack_free(stack);
    pcre2_match_context_free(context);
    pcre2_match_data_free(data);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
};

Scratch& ThreadScratch() {
  thread_local Scratch scratch;
  return scratch;
}

// PCRE2's own \s also takes U+180E. Classes within classes, which PCRE2 would read as plain
// characters, are reported as nothing.
std::optional<std::string> InPcreDialect(std::string_view pattern) {
  std::string out;
  bool in_class = false;
  size_t class_start = 0;  // first position where ']' ends the class
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '\\' && i + 1 < pattern.size()) {
      const char next = pattern[++i];
      if (next == 's') {
        out += "\\p{White_Space}";
      } else if (next == 'S') {
        out += "\\P{White_Space}";
      } else {
        out += c;
        out += next;
      }
      continue;
    }
    if (!in_class && c == '[') {
      in_class = true;
      class_start = i + 1 + (i + 1 < pattern.size() && pattern[i + 1] == '^' ? 1 : 0);
    } else if (in_class && c == ']' && i > class_start) {
      in_class = false;
    } else if (in_class && c == '&' && i + 1 < pattern.size() && pattern[i + 1] == '&') {
      return std::nullopt;
    } else if (in_class && c == '[' && i >= class_start) {
      if (i + 1 >= pattern.size() || pattern[i + 1] != ':') return std::nullopt;
    }
    out += c;
  }
  return out;
}

}  // namespace

struct Regex::Code {
  pcre2_code* code = nullptr;
  ~Code() { pcre2_code_free(code); }
};

Regex::Regex(std::unique_ptr<Code> code) : code_(std::move(code)) {}
Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;

Result<Regex> Regex::Compile(std::string_view pattern) {
  if (pattern.size() > kMaxPattern) {
    return Status::Unsupported(
        fmt::format("pattern of {} bytes; at most {} are compiled", pattern.size(), kMaxPattern));
  }
  const std::optional<std::string> dialect = InPcreDialect(pattern);
  if (!dialect) {
    return Status::Unsupported(
        fmt::format("pattern '{}': a character class within a class is not understood", pattern));
  }
  pcre2_compile_context* context = pcre2_compile_context_create(nullptr);
  if (context == nullptr) return Status::OutOfMemory("pattern: no memory to compile it");
  pcre2_set_parens_nest_limit(context, kMaxParens);
  int error = 0;
  size_t offset = 0;
  auto code = std::make_unique<Code>();
  code->code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(dialect->data()), dialect->size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &offset, context);
  pcre2_compile_context_free(context);
  if (code->code == nullptr) {
    PCRE2_UCHAR reason[160] = {};
    pcre2_get_error_message(error, reason, sizeof(reason));
    return Status::Unsupported(fmt::format("pattern '{}': {} at byte {}", *dialect,
                                           reinterpret_cast<const char*>(reason), offset));
  }
  // Where there is no JIT the interpreter gives the same matches.
  pcre2_jit_compile(code->code, PCRE2_JIT_COMPLETE);
  return Regex(std::move(code));
}

Regex::Match Regex::Find(std::string_view text, size_t from) const {
  Scratch& scratch = ThreadScratch();
  if (scratch.data == nullptr || scratch.context == nullptr) return {Match::Outcome::kGaveUp};
  const int rc = pcre2_match(code_->code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                             from, PCRE2_NO_UTF_CHECK, scratch.data, scratch.context);
  if (rc == PCRE2_ERROR_NOMATCH) return {Match::Outcome::kNone};
  if (rc < 0) return {Match::Outcome::kGaveUp};
  const size_t* bounds = pcre2_get_ovector_pointer(scratch.data);
  // \K can put the start behind the end or before `from`; such a pattern does not split text.
  if (bounds[0] > bounds[1] || bounds[0] < from) return {Match::Outcome::kGaveUp};
  return {Match::Outcome::kFound, bounds[0], bounds[1]};
}

}  // namespace kvasir
