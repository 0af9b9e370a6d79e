#include "kvasir/model/jinja/text_ops.h"

#include <algorithm>

#include "kvasir/model/jinja/utf8.h"

namespace kvasir::jinja {
namespace {

// Maps each character by `map(code)`, which sees them in order.
template <typename Map>
Text MapChars(Heap& heap, const Text& text, const Map& map) {
  heap.Step(text.size() / 16);
  TextBuilder out(heap);
  text.ForEachRun(0, text.size(), [&](std::string_view run, bool from_input) {
    std::string mapped;
    for (size_t at = 0; at < run.size();) {
      const Utf8Char c = DecodeUtf8(run, at);
      AppendUtf8(mapped, map(c.code));
      at += c.length;
    }
    out.Append(mapped, from_input);
  });
  return out.Take();
}

bool IsLineEnd(char32_t code) {
  return (code >= 0x0A && code <= 0x0D) || (code >= 0x1C && code <= 0x1E) || code == 0x85 ||
         code == 0x2028 || code == 0x2029;
}

struct Piece {
  size_t begin, end;
};

std::vector<Piece> SplitSpace(std::string_view s, int64_t max_split) {
  std::vector<Piece> pieces;
  size_t at = 0;
  const auto skip = [&](bool space) {
    while (at < s.size()) {
      const Utf8Char c = DecodeUtf8(s, at);
      if (IsSpace(c.code) != space) break;
      at += c.length;
    }
  };
  while (true) {
    skip(true);
    if (at == s.size()) return pieces;
    const size_t begin = at;
    if (max_split-- == 0) {
      pieces.push_back({begin, s.size()});
      return pieces;
    }
    skip(false);
    pieces.push_back({begin, at});
  }
}

std::vector<Piece> SplitSpaceRight(std::string_view s, int64_t max_split) {
  std::vector<Piece> pieces = SplitSpace(s, -1);
  if (max_split >= 0 && pieces.size() > static_cast<size_t>(max_split)) {
    const size_t n_merged = pieces.size() - static_cast<size_t>(max_split);
    pieces[n_merged - 1].begin = 0;
    pieces.erase(pieces.begin(), pieces.begin() + static_cast<ptrdiff_t>(n_merged) - 1);
  }
  return pieces;
}

std::vector<Piece> SplitOn(std::string_view s, std::string_view separator, int64_t max_split) {
  std::vector<Piece> pieces;
  size_t begin = 0;
  while (max_split-- != 0) {
    const size_t at = s.find(separator, begin);
    if (at == std::string_view::npos) break;
    pieces.push_back({begin, at});
    begin = at + separator.size();
  }
  pieces.push_back({begin, s.size()});
  return pieces;
}

std::vector<Piece> SplitOnRight(std::string_view s, std::string_view separator, int64_t max_split) {
  std::vector<Piece> pieces;
  size_t end = s.size();
  while (max_split-- != 0 && end >= separator.size()) {
    const size_t at = s.rfind(separator, end - separator.size());
    if (at == std::string_view::npos) break;
    pieces.push_back({at + separator.size(), end});
    end = at;
  }
  pieces.push_back({0, end});
  std::reverse(pieces.begin(), pieces.end());
  return pieces;
}

std::vector<Text> Cut(Heap& heap, const Text& text, const std::vector<Piece>& pieces) {
  heap.Step(text.size() / 16 + pieces.size());
  heap.CheckRoom(text.footprint() + pieces.size() * sizeof(Text));
  std::vector<Text> out;
  for (const Piece& piece : pieces) out.push_back(text.Slice(piece.begin, piece.end));
  return out;
}

}  // namespace

Text Strip(const Text& text, std::optional<std::string_view> chars, bool left, bool right) {
  const std::string_view s = text.bytes();
  const auto strips = [&](size_t at, size_t length) {
    if (!chars) return IsSpace(DecodeUtf8(s, at).code);
    const std::string_view c = s.substr(at, length);
    for (size_t i = 0; i < chars->size();) {
      const size_t n = DecodeUtf8(*chars, i).length;
      if (chars->substr(i, n) == c) return true;
      i += n;
    }
    return false;
  };
  size_t begin = 0, end = s.size();
  while (left && begin < end) {
    const size_t length = DecodeUtf8(s, begin).length;
    if (!strips(begin, length)) break;
    begin += length;
  }
  while (right && begin < end) {
    size_t at = end - 1;
    while (at > begin && end - at < 4 && (static_cast<unsigned char>(s[at]) & 0xC0) == 0x80) --at;
    if (at + DecodeUtf8(s, at).length != end) at = end - 1;
    if (!strips(at, end - at)) break;
    end = at;
  }
  return text.Slice(begin, end);
}

Text Upper(Heap& heap, const Text& text) { return MapChars(heap, text, ToUpper); }
Text Lower(Heap& heap, const Text& text) { return MapChars(heap, text, ToLower); }

Text Capitalize(Heap& heap, const Text& text) {
  bool first = true;
  return MapChars(heap, text, [&first](char32_t code) {
    return std::exchange(first, false) ? ToTitle(code) : ToLower(code);
  });
}

Text SwapCase(Heap& heap, const Text& text) {
  return MapChars(heap, text,
                  [](char32_t code) { return IsUpper(code) ? ToLower(code) : ToUpper(code); });
}

Text Title(Heap& heap, const Text& text, bool jinja) {
  bool starts = true;
  return MapChars(heap, text, [&](char32_t code) {
    const char32_t mapped = starts ? ToTitle(code) : ToLower(code);
    const bool bracket = code == '-' || code == '(' || code == '{' || code == '[' || code == '<';
    starts = jinja ? IsSpace(code) || bracket : !IsLetter(code);
    return mapped;
  });
}

Text Replace(Heap& heap, const Text& text, std::string_view from, const Text& to, int64_t count) {
  const std::string& s = text.bytes();
  TextBuilder out(heap);
  size_t copied = 0;
  size_t at = 0;
  for (; count != 0; --count) {
    at = s.find(from, at);
    if (at == std::string::npos) break;
    heap.Step();
    out.AppendRange(text, copied, at);
    out.Append(to);
    copied = at + from.size();
    if (from.empty()) {  // between all characters, and at both ends
      if (at == s.size()) break;
      at += DecodeUtf8(s, at).length;
    } else {
      at = copied;
    }
  }
  out.AppendRange(text, copied, s.size());
  return out.Take();
}

std::vector<Text> Split(Heap& heap, const Text& text, std::optional<std::string_view> separator,
                        int64_t max_split, bool from_right) {
  const std::string_view s = text.bytes();
  heap.CheckRoom(s.size() * sizeof(Piece));
  if (!separator) {
    return Cut(heap, text, from_right ? SplitSpaceRight(s, max_split) : SplitSpace(s, max_split));
  }
  if (separator->empty()) throw Failure{"empty separator"};
  return Cut(
      heap, text,
      from_right ? SplitOnRight(s, *separator, max_split) : SplitOn(s, *separator, max_split));
}

std::vector<Text> SplitLines(Heap& heap, const Text& text, bool keep_ends) {
  const std::string& s = text.bytes();
  heap.CheckRoom(s.size() * sizeof(Piece));
  std::vector<Piece> pieces;
  size_t begin = 0;
  for (size_t at = 0; at < s.size();) {
    const Utf8Char c = DecodeUtf8(s, at);
    const size_t line_end = at;
    at += c.length;
    if (!IsLineEnd(c.code)) continue;
    if (c.code == '\r' && at < s.size() && s[at] == '\n') ++at;
    pieces.push_back({begin, keep_ends ? at : line_end});
    begin = at;
  }
  if (begin < s.size()) pieces.push_back({begin, s.size()});
  return Cut(heap, text, pieces);
}

}  // namespace kvasir::jinja
