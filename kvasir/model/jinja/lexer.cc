#include "kvasir/model/jinja/lexer.h"

#include <fmt/core.h>

#include <algorithm>

#include "kvasir/model/jinja/utf8.h"
#include "kvasir/model/jinja/value.h"

namespace kvasir::jinja {
namespace {

bool IsDecimal(char c) { return c >= '0' && c <= '9'; }
bool IsNameStart(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c & 0x80) != 0;
}
bool IsNamePart(char c) { return IsNameStart(c) || IsDecimal(c); }

// Line ends become "\n", and one at the very end goes, as Jinja does by default.
std::string NormalizeLines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      out += source[i];
    } else {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    }
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(NormalizeLines(source)), s_(source_) {}

  std::vector<Token> Run() {
    while (at_ < s_.size()) Root();
    Add(TokenType::kEnd, "");
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void Fail(std::string message) const {
    throw Failure{std::move(message), StatusCode::kInvalidArgument, line_};
  }
  bool LooksAt(std::string_view word) const { return s_.substr(at_).starts_with(word); }
  char At(size_t i) const { return i < s_.size() ? s_[i] : '\0'; }
  void Add(TokenType type, std::string text) { tokens_.push_back({type, std::move(text), line_}); }

  // Moves past [at_, end), counting lines.
  void Advance(size_t end) {
    line_ += static_cast<int>(std::count(s_.begin() + at_, s_.begin() + end, '\n'));
    if (end > at_) line_starting_ = s_[end - 1] == '\n';
    at_ = end;
  }
  void SkipSpace() {
    size_t end = at_;
    while (end < s_.size()) {
      const Utf8Char c = DecodeUtf8(s_, end);
      if (!IsSpace(c.code)) break;
      end += c.length;
    }
    Advance(end);
  }

  // Text up to the next tag, then the tag.
  void Root() {
    size_t open = s_.find('{', at_);
    while (open != std::string_view::npos && At(open + 1) != '{' && At(open + 1) != '%' &&
           At(open + 1) != '#') {
      open = s_.find('{', open + 1);
    }
    if (open == std::string_view::npos) {
      Data(s_.substr(at_));
      return Advance(s_.size());
    }
    const char kind = s_[open + 1];
    const char sign = SignAt(open + 2);
    Data(Stripped(s_.substr(at_, open - at_), sign, kind != '{'));
    Advance(open + 2 + (sign != 0));
    switch (kind) {
      case '#': return Comment();
      case '{': Add(TokenType::kVariableBegin, "{{"); return Tag("}}", TokenType::kVariableEnd);
      default:
        if (Raw()) return;
        Add(TokenType::kBlockBegin, "{%");
        return Tag("%}", TokenType::kBlockEnd);
    }
  }

  char SignAt(size_t i) const { return At(i) == '-' || At(i) == '+' ? At(i) : '\0'; }

  void Data(std::string_view text) {
    if (!text.empty()) Add(TokenType::kData, std::string(text));
  }

  // What is left of the text in front of a tag: "-" takes all white space, a block or comment that
  // starts its line takes the blanks before it.
  std::string_view Stripped(std::string_view text, char sign, bool is_block) const {
    if (sign == '-') {
      const ByteRange kept = TrimRange(text);
      return text.substr(0, kept.begin == kept.end ? 0 : kept.end);
    }
    if (sign == '+' || !is_block) return text;
    const size_t newline = text.rfind('\n');
    const size_t line_begin = newline == std::string_view::npos ? 0 : newline + 1;
    if (line_begin == 0 && !line_starting_) return text;
    const ByteRange blanks = TrimRange(text.substr(line_begin));
    return blanks.begin == blanks.end ? text.substr(0, line_begin) : text;
  }

  // After a block or comment: "-" takes white space, else one line end goes unless "+" keeps it.
  void AfterBlock(char sign) {
    if (sign == '-') return SkipSpace();
    if (sign != '+' && At(at_) == '\n') Advance(at_ + 1);
  }

  void Comment() {
    const size_t end = s_.find("#}", at_);
    if (end == std::string_view::npos) Fail("comment is not closed");
    const char sign = end > at_ ? SignAt(end - 1) : '\0';
    Advance(end + 2);
    AfterBlock(sign);
  }

  // {% raw %}...{% endraw %}, when the block that begins at at_ is one.
  bool Raw() {
    size_t at = at_;
    if (!Word(at, "raw")) return false;
    const bool strip = At(at) == '-';
    if (s_.substr(at + strip, 2) != "%}") return false;
    Advance(at + strip + 2);
    if (strip) SkipSpace();
    for (size_t open = s_.find("{%", at_); open != std::string_view::npos;
         open = s_.find("{%", open + 1)) {
      const char sign = SignAt(open + 2);
      at = open + 2 + (sign != 0);
      if (!Word(at, "endraw")) continue;
      const char end_sign = SignAt(at);
      at += end_sign != 0;
      if (s_.substr(at, 2) != "%}") continue;
      Data(Stripped(s_.substr(at_, open - at_), sign, true));
      Advance(at + 2);
      AfterBlock(end_sign);
      return true;
    }
    Fail("raw block is not closed");
  }

  // Skips space, `word` and space from `at`; false when another word stands there.
  bool Word(size_t& at, std::string_view word) const {
    const auto skip = [&] {
      while (at < s_.size() && IsSpace(static_cast<unsigned char>(s_[at]))) ++at;
    };
    skip();
    if (!s_.substr(at).starts_with(word)) return false;
    at += word.size();
    skip();
    return true;
  }

  void Tag(std::string_view close, TokenType end_type) {
    std::string brackets;  // closing ones that are due
    while (true) {
      SkipSpace();
      if (at_ == s_.size()) Fail(fmt::format("tag is not closed by '{}'", close));
      if (brackets.empty()) {
        const char sign = SignAt(at_);
        const bool signed_end = sign == '-' || (sign == '+' && end_type == TokenType::kBlockEnd);
        if (signed_end && s_.substr(at_ + 1, 2) == close) return TagEnd(end_type, sign);
        if (LooksAt(close)) return TagEnd(end_type, '\0');
      }
      TagToken(brackets);
    }
  }

  void TagEnd(TokenType type, char sign) {
    Add(type, "");
    Advance(at_ + 2 + (sign != 0));
    if (type == TokenType::kBlockEnd) return AfterBlock(sign);
    if (sign == '-') SkipSpace();
  }

  void TagToken(std::string& brackets) {
    const char c = s_[at_];
    if (IsDecimal(c)) return Number();
    if (IsNameStart(c)) return Name();
    if (c == '"' || c == '\'') return String(c);
    Operator(brackets);
  }

  // Digits with single underscores between them, from `i` on.
  size_t Digits(size_t i) const {
    while (IsDecimal(At(i)) || (At(i) == '_' && IsDecimal(At(i + 1)))) ++i;
    return i;
  }

  void AddNumber(TokenType type, size_t end) {
    std::string text(s_.substr(at_, end - at_));
    std::erase(text, '_');
    Add(type, std::move(text));
    Advance(end);
  }

  void Number() {
    const char base = static_cast<char>(At(at_ + 1) | 0x20);
    if (s_[at_] == '0' && (base == 'x' || base == 'o' || base == 'b')) {
      size_t end = at_ + 2;
      while (IsNamePart(At(end)) && (At(end) & 0x80) == 0) ++end;
      return AddNumber(TokenType::kInteger, end);
    }
    size_t end = Digits(at_);
    TokenType type = TokenType::kInteger;
    // After a dot stands an index: a.0.1
    const bool after_dot = at_ > 0 && s_[at_ - 1] == '.';
    if (!after_dot && At(end) == '.' && IsDecimal(At(end + 1))) {
      type = TokenType::kFloat;
      end = Digits(end + 1);
    }
    if (!after_dot && (At(end) | 0x20) == 'e') {
      const size_t exponent = end + 1 + (SignAt(end + 1) != 0);
      if (IsDecimal(At(exponent))) {
        type = TokenType::kFloat;
        end = Digits(exponent);
      }
    }
    AddNumber(type, end);
  }

  void Name() {
    size_t end = at_;
    while (IsNamePart(At(end)) && end < s_.size()) ++end;
    Add(TokenType::kName, std::string(s_.substr(at_, end - at_)));
    Advance(end);
  }

  void String(char quote) {
    size_t end = at_ + 1;
    while (end < s_.size() && s_[end] != quote) end += s_[end] == '\\' ? 2 : 1;
    if (end >= s_.size()) Fail("string is not closed");
    Add(TokenType::kString, Unescape(s_.substr(at_ + 1, end - at_ - 1)));
    Advance(end + 1);
  }

  std::string Unescape(std::string_view raw) const {
    std::string out;
    for (size_t i = 0; i < raw.size();) {
      if (raw[i] != '\\') {
        out += raw[i++];
        continue;
      }
      ++i;  // a string never ends in a lone backslash
      constexpr std::string_view kNames = "ntr\\'\"abfv\n";
      constexpr std::string_view kValues = "\n\t\r\\'\"\a\b\f\v";
      if (const size_t known = kNames.find(raw[i]); known != std::string_view::npos) {
        if (known < kValues.size()) out += kValues[known];
        ++i;
      } else if (raw[i] == 'x' || raw[i] == 'u' || raw[i] == 'U') {
        const size_t n_digit = raw[i] == 'x' ? 2 : raw[i] == 'u' ? 4 : 8;
        AppendCode(out, raw.substr(i + 1, n_digit), n_digit, 16);
        i += 1 + n_digit;
      } else if (raw[i] >= '0' && raw[i] <= '7') {
        size_t end = i;
        while (end < raw.size() && end < i + 3 && raw[end] >= '0' && raw[end] <= '7') ++end;
        AppendCode(out, raw.substr(i, end - i), end - i, 8);
        i = end;
      } else {
        out += '\\';
      }
    }
    return out;
  }

  void AppendCode(std::string& out, std::string_view digits, size_t n_digit, int base) const {
    char32_t code = 0;
    for (const char c : digits) {
      const int digit = IsDecimal(c) ? c - '0' : (c | 0x20) - 'a' + 10;
      if (digit < 0 || digit >= base) Fail("escape in a string has too few digits");
      code = code * static_cast<char32_t>(base) + static_cast<char32_t>(digit);
    }
    const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
    if (digits.size() < n_digit || code > 0x10FFFF || surrogate) {
      Fail("escape in a string is no character");
    }
    AppendUtf8(out, code);
  }

  void Operator(std::string& brackets) {
    constexpr std::string_view kDouble[] = {"//", "**", "==", "!=", ">=", "<="};
    constexpr std::string_view kSingle = "+-/*%~[](){}<>=.:|,;";
    const char c = s_[at_];
    size_t length = 0;
    if (kSingle.find(c) != std::string_view::npos) length = 1;
    for (const std::string_view op : kDouble) {
      if (LooksAt(op)) length = 2;
    }
    if (length == 0) Fail(fmt::format("unexpected character '{}'", c));
    if (length == 1) Balance(brackets, c);
    Add(TokenType::kOperator, std::string(s_.substr(at_, length)));
    Advance(at_ + length);
  }

  void Balance(std::string& brackets, char c) const {
    if (c == '(') brackets += ')';
    if (c == '[') brackets += ']';
    if (c == '{') brackets += '}';
    if (c != ')' && c != ']' && c != '}') return;
    if (brackets.empty()) Fail(fmt::format("unexpected '{}'", c));
    if (brackets.back() != c)
      Fail(fmt::format("unexpected '{}', expected '{}'", c, brackets.back()));
    brackets.pop_back();
  }

  const std::string source_;
  const std::string_view s_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_starting_ = true;  // nothing but a line end stands in front of at_
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> Tokenize(std::string_view source) { return Lexer(source).Run(); }

}  // namespace kvasir::jinja
