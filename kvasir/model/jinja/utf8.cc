#include "kvasir/model/jinja/utf8.h"

#include <utf8proc.h>

namespace kvasir::jinja {
namespace {

constexpr char32_t kEscapedByte = 0xDC00;

// Length that the lead byte announces, 0 when it cannot start a character.
size_t SequenceLength(unsigned char lead) {
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return 2;
  if (lead >= 0xE0 && lead <= 0xEF) return 3;
  if (lead >= 0xF0 && lead <= 0xF4) return 4;
  return 0;
}

utf8proc_category_t Category(char32_t code) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(code));
}

}  // namespace

Utf8Char DecodeUtf8(std::string_view s, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(s[at + i]); };
  const Utf8Char invalid = {kEscapedByte + byte(0), 1};
  const size_t length = SequenceLength(byte(0));
  if (length == 1) return {byte(0), 1};
  if (length == 0 || s.size() - at < length) return invalid;
  char32_t code = byte(0) & (0x7F >> length);
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return invalid;
    code = code << 6 | (byte(i) & 0x3F);
  }
  constexpr char32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
  if (code < kSmallest[length] || code > 0x10FFFF || surrogate) return invalid;
  return {code, length};
}

void AppendUtf8(std::string& out, char32_t code) {
  const auto put = [&](char32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (code >= kEscapedByte && code < kEscapedByte + 0x100) {
    put(code - kEscapedByte);
  } else if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | code >> 6);
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3F));
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

size_t CountUtf8(std::string_view s) {
  size_t n = 0;
  for (size_t at = 0; at < s.size(); at += DecodeUtf8(s, at).length) ++n;
  return n;
}

size_t FindInvalidUtf8(std::string_view s) {
  for (size_t at = 0; at < s.size();) {
    const Utf8Char c = DecodeUtf8(s, at);
    if (c.code >= kEscapedByte && c.code < kEscapedByte + 0x100) return at;
    at += c.length;
  }
  return std::string_view::npos;
}

bool IsSpace(char32_t code) {
  if (code < 0x80) return (code >= 0x09 && code <= 0x0D) || (code >= 0x1C && code <= 0x20);
  return code == 0x85 || code == 0xA0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200A) ||
         code == 0x2028 || code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

bool IsPrintable(char32_t code) {
  if (code < 0x80) return code >= 0x20 && code != 0x7F;
  switch (Category(code)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS: return false;
    default: return true;
  }
}

bool IsLetter(char32_t code) {
  const auto category = Category(code);
  return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}

bool IsDigit(char32_t code) { return Category(code) == UTF8PROC_CATEGORY_ND; }
bool IsUpper(char32_t code) { return Category(code) == UTF8PROC_CATEGORY_LU; }
bool IsLower(char32_t code) { return Category(code) == UTF8PROC_CATEGORY_LL; }

char32_t ToUpper(char32_t code) {
  return static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(code)));
}
char32_t ToLower(char32_t code) {
  return static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code)));
}
char32_t ToTitle(char32_t code) {
  return static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(code)));
}

ByteRange TrimRange(std::string_view s) {
  ByteRange range = {0, s.size()};
  while (range.begin < range.end) {
    const Utf8Char c = DecodeUtf8(s, range.begin);
    if (!IsSpace(c.code)) break;
    range.begin += c.length;
  }
  while (range.end > range.begin) {
    size_t at = range.end - 1;
    while (at > range.begin && (static_cast<unsigned char>(s[at]) & 0xC0) == 0x80) --at;
    const Utf8Char c = DecodeUtf8(s, at);
    if (at + c.length != range.end || !IsSpace(c.code)) break;
    range.end = at;
  }
  return range;
}

}  // namespace kvasir::jinja
