#include "kvasir/model/utf8.h"

namespace kvasir {
namespace {

// What the lead byte promises: total length and the legal range of the second byte, which is
// narrower than 80..BF where overlong forms, surrogates or values past U+10FFFF begin.
struct Lead {
  uint8_t length;
  uint8_t second_min;
  uint8_t second_max;
};

Lead LeadOf(uint8_t byte) {
  if (byte < 0xC2) return {0, 0, 0};
  if (byte < 0xE0) return {2, 0x80, 0xBF};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte < 0xF0) return {3, 0x80, 0xBF};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte < 0xF4) return {4, 0x80, 0xBF};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

}  // namespace

Utf8Unit NextUtf8(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t first = byte(0);
  if (first < 0x80) return {Utf8Kind::kValid, 1, first};
  const Lead lead = LeadOf(first);
  if (lead.length == 0) return {Utf8Kind::kInvalid, 1, 0};
  uint32_t codepoint = first & (0xFFu >> (lead.length + 1));
  for (uint8_t i = 1; i < lead.length; ++i) {
    if (i == text.size()) return {Utf8Kind::kTruncated, i, 0};
    const uint8_t min = i == 1 ? lead.second_min : 0x80;
    const uint8_t max = i == 1 ? lead.second_max : 0xBF;
    if (byte(i) < min || byte(i) > max) return {Utf8Kind::kInvalid, i, 0};
    codepoint = codepoint << 6 | (byte(i) & 0x3Fu);
  }
  return {Utf8Kind::kValid, lead.length, codepoint};
}

void AppendUtf8(uint32_t codepoint, std::string& to) {
  const auto push = [&](uint32_t byte) { to.push_back(static_cast<char>(byte)); };
  if (codepoint < 0x80) {
    push(codepoint);
    return;
  }
  if (codepoint < 0x800) {
    push(0xC0 | codepoint >> 6);
  } else {
    if (codepoint < 0x10000) {
      push(0xE0 | codepoint >> 12);
    } else {
      push(0xF0 | codepoint >> 18);
      push(0x80 | (codepoint >> 12 & 0x3F));
    }
    push(0x80 | (codepoint >> 6 & 0x3F));
  }
  push(0x80 | (codepoint & 0x3F));
}

size_t ValidUtf8Prefix(std::string_view text) {
  size_t end = 0;
  while (end < text.size()) {
    const Utf8Unit unit = NextUtf8(text.substr(end));
    if (unit.kind != Utf8Kind::kValid) break;
    end += unit.length;
  }
  return end;
}

bool IsWhiteSpace(uint32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

std::string TakeCompleteUtf8(std::string& pending) {
  std::string complete;
  size_t at = 0;
  while (at < pending.size()) {
    const Utf8Unit unit = NextUtf8(std::string_view(pending).substr(at));
    if (unit.kind == Utf8Kind::kTruncated) break;
    complete += unit.kind == Utf8Kind::kValid ? std::string_view(pending).substr(at, unit.length)
                                              : kReplacementCharacter;
    at += unit.length;
  }
  pending.erase(0, at);
  return complete;
}

}  // namespace kvasir
