// UTF-8 as Python's str sees it. Decoding is lenient: a byte that starts no valid sequence is a
// character of its own, so that every function here is total.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace kvasir::jinja {

struct Utf8Char {
  char32_t code;  // 0xDC00 + byte for a byte that is not UTF-8
  size_t length;  // bytes, at least 1
};

// `at` must be below s.size().
Utf8Char DecodeUtf8(std::string_view s, size_t at);
void AppendUtf8(std::string& out, char32_t code);
// Number of characters.
size_t CountUtf8(std::string_view s);
// Offset of the first byte that is not UTF-8, or npos.
size_t FindInvalidUtf8(std::string_view s);

bool IsSpace(char32_t code);      // str.isspace
bool IsPrintable(char32_t code);  // str.isprintable
bool IsLetter(char32_t code);     // str.isalpha
bool IsDigit(char32_t code);      // str.isdecimal
bool IsUpper(char32_t code);
bool IsLower(char32_t code);
char32_t ToUpper(char32_t code);
char32_t ToLower(char32_t code);
char32_t ToTitle(char32_t code);

// Bounds of `s` without white space at its ends: [begin, end).
struct ByteRange {
  size_t begin;
  size_t end;
};
ByteRange TrimRange(std::string_view s);

}  // namespace kvasir::jinja
