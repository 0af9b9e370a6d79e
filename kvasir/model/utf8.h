// UTF-8 a character at a time over bytes that may be anything.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace kvasir {

enum class Utf8Kind : uint8_t {
  kValid,      // one well-formed character (no surrogates, no overlong forms, at most U+10FFFF)
  kInvalid,    // bytes that no character can start with or continue
  kTruncated,  // a proper prefix of a character, cut by the end of the text
};

struct Utf8Unit {
  Utf8Kind kind;
  uint8_t length;      // bytes covered, 1 to 4; for kInvalid the maximal subpart
  uint32_t codepoint;  // meaningful for kValid only
};

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD

// The unit at the start of `text`, which is not empty.
Utf8Unit NextUtf8(std::string_view text);

// Appends `codepoint`, a Unicode scalar value.
void AppendUtf8(uint32_t codepoint, std::string& to);

// Length of the longest prefix of `text` that is well-formed.
size_t ValidUtf8Prefix(std::string_view text);

// Unicode White_Space.
bool IsWhiteSpace(uint32_t codepoint);

// Moves all complete characters from `pending` to the result, with U+FFFD for each invalid
// subpart; a truncated character stays in `pending`.
std::string TakeCompleteUtf8(std::string& pending);

}  // namespace kvasir
