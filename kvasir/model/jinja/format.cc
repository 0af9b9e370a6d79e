#include "kvasir/model/jinja/format.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "kvasir/model/jinja/ops.h"
#include "kvasir/model/jinja/print.h"
#include "kvasir/model/jinja/utf8.h"

namespace kvasir::jinja {
namespace {

// What stands between the braces after ':', or between '%' and the conversion.
struct Spec {
  char align = 0;
  char fill = ' ';
  char sign = 0;  // '+' or ' '
  bool alternate = false;
  bool commas = false;
  int64_t width = 0;
  std::optional<int> precision;
  char type = 0;
};

constexpr int64_t kMaxWidth = 1 << 20;
constexpr int kMaxPrecision = 100;

// Reads one pattern from left to right.
class Reader {
 public:
  explicit Reader(std::string_view s) : s_(s) {}
  bool done() const { return at_ == s_.size(); }
  size_t at() const { return at_; }
  char Peek() const { return done() ? '\0' : s_[at_]; }
  char PeekNext() const { return at_ + 1 < s_.size() ? s_[at_ + 1] : '\0'; }
  char Next() {
    if (done()) throw Failure{"incomplete format"};
    return s_[at_++];
  }
  bool Accept(char c) {
    if (Peek() != c || done()) return false;
    ++at_;
    return true;
  }
  std::optional<int64_t> Number() {
    std::optional<int64_t> n;
    while (Peek() >= '0' && Peek() <= '9') {
      n = n.value_or(0) * 10 + (Next() - '0');
      if (*n > kMaxWidth) throw Failure{"width or precision of a format is too large"};
    }
    return n;
  }
  std::string_view Until(std::string_view stops) {
    const size_t end = std::min(s_.find_first_of(stops, at_), s_.size());
    return s_.substr(std::exchange(at_, end), end - at_);
  }

 private:
  std::string_view s_;
  size_t at_ = 0;
};

std::optional<int> ReadPrecision(Reader& reader) {
  if (!reader.Accept('.')) return std::nullopt;
  const int64_t n = reader.Number().value_or(0);
  return static_cast<int>(std::min<int64_t>(n, kMaxWidth));
}

std::string WithCommas(std::string digits) {
  const size_t end = std::min(digits.find('.'), digits.size());
  for (size_t at = end; at > 3;) {
    at -= 3;
    if (digits[at - 1] == '-') break;
    digits.insert(at, 1, ',');
  }
  return digits;
}

// Magnitude of a number in the spec's type, without sign.
std::string Magnitude(const Value& value, const Spec& spec) {
  switch (spec.type) {
    case 'd':
    case 'i':
    case 'u':
    case 'x':
    case 'X':
    case 'o':
    case 'b': {
      const int64_t i =
          value.is_float() ? static_cast<int64_t>(value.float_value()) : value.int_value();
      const uint64_t magnitude = i < 0 ? 0 - static_cast<uint64_t>(i) : static_cast<uint64_t>(i);
      switch (spec.type) {
        case 'x': return fmt::format("{}{:x}", spec.alternate ? "0x" : "", magnitude);
        case 'X': return fmt::format("{}{:X}", spec.alternate ? "0X" : "", magnitude);
        case 'o': return fmt::format("{}{:o}", spec.alternate ? "0o" : "", magnitude);
        case 'b': return fmt::format("{}{:b}", spec.alternate ? "0b" : "", magnitude);
        default: return fmt::format("{}", magnitude);
      }
    }
    default: break;
  }
  const double d = std::fabs(value.float_value());
  const int precision = spec.precision.value_or(6);
  if (precision > kMaxPrecision) throw Failure{"precision of a format is too large"};
  switch (spec.type) {
    case 'e': return fmt::format("{:.{}e}", d, precision);
    case 'E': return fmt::format("{:.{}E}", d, precision);
    case 'g': return fmt::format("{:.{}g}", d, precision);
    case 'G': return fmt::format("{:.{}G}", d, precision);
    case '%': return fmt::format("{:.{}f}%", d * 100, precision);
    default: return fmt::format("{:.{}f}", d, precision);
  }
}

bool IsIntegerType(char type) {
  return std::string_view("diuxXob").find(type) != std::string_view::npos;
}

Text FormatNumber(Heap& heap, const Value& value, const Spec& spec) {
  if (!value.is_number()) {
    throw Failure{
        fmt::format("format '{}' needs a number, found '{}'", spec.type, TypeName(value))};
  }
  if (IsIntegerType(spec.type) && value.is_float() && !(std::fabs(value.float_value()) < 9e18)) {
    throw Failure{"float does not fit an integer format"};
  }
  std::string digits = Magnitude(value, spec);
  if (spec.commas) digits = WithCommas(std::move(digits));
  const bool negative =
      value.is_float() ? std::signbit(value.float_value()) : value.int_value() < 0;
  const bool zero_int = IsIntegerType(spec.type) && digits == "0";
  const std::string sign = negative && !zero_int ? "-" : std::string(spec.sign != 0, spec.sign);
  if (spec.fill == '0' && spec.align == '=') {
    const auto width = static_cast<size_t>(spec.width);
    const size_t used = sign.size() + digits.size();
    if (used < width) digits.insert(0, width - used, '0');
  }
  return Pad(heap, Text(sign + digits), spec.width,
             spec.align == '<' || spec.align == '^' ? spec.align : '>', spec.fill);
}

Text Truncated(const Text& text, std::optional<int> precision) {
  if (!precision) return text;
  size_t end = 0;
  for (int i = 0; i < *precision && end < text.size(); ++i) {
    end += DecodeUtf8(text.bytes(), end).length;
  }
  return text.Slice(0, end);
}

// --- '%'
// -------------------------------------------------------------------------------------------

class PercentFormatter {
 public:
  PercentFormatter(Runtime& runtime, const Value& arguments)
      : heap_(runtime.heap), arguments_(arguments), out_(runtime.heap) {}

  Text Format(const Text& pattern) {
    Reader reader(pattern.bytes());
    while (!reader.done()) {
      const size_t begin = reader.at();
      reader.Until("%");
      out_.AppendRange(pattern, begin, reader.at());
      if (reader.done()) break;
      const bool from_input = pattern.from_input(reader.at());
      reader.Next();
      if (reader.Accept('%')) {
        out_.Append("%", from_input);
      } else {
        Conversion(reader);
      }
    }
    if (!arguments_.is_dict() && n_used_ < Count()) {
      throw Failure{"not all arguments converted during string formatting"};
    }
    return out_.Take();
  }

 private:
  size_t Count() const {
    return arguments_.kind() == Kind::kTuple ? arguments_.list().items.size() : 1;
  }

  Value NextArgument(Reader& reader) {
    if (reader.Accept('(')) {
      const std::string_view name = reader.Until(")");
      reader.Next();
      const Value* found = arguments_.is_dict() ? arguments_.dict().Find(name) : nullptr;
      if (found == nullptr) throw Failure{fmt::format("format has no value for '{}'", name)};
      return *found;
    }
    return {};
  }

  void Conversion(Reader& reader) {
    const bool named = reader.Peek() == '(';
    Value value = NextArgument(reader);
    Spec spec;
    spec.align = '>';
    for (bool flag = true; flag;) {
      flag = true;
      switch (reader.Peek()) {
        case '-': spec.align = '<'; break;
        case '0': spec.fill = '0'; break;
        case '+':
        case ' ': spec.sign = reader.Peek(); break;
        case '#': spec.alternate = true; break;
        default: flag = false;
      }
      if (flag) reader.Next();
    }
    spec.width = reader.Number().value_or(0);
    spec.precision = ReadPrecision(reader);
    spec.type = reader.Next();
    if (!named) {
      if (n_used_ >= Count()) throw Failure{"not enough arguments for format string"};
      value = arguments_.kind() == Kind::kTuple ? arguments_.list().items[n_used_] : arguments_;
      ++n_used_;
    }
    Convert(value, spec);
  }

  void Convert(const Value& value, Spec& spec) {
    if (spec.fill == '0') {
      spec.fill = spec.align == '<' ? ' ' : '0';
      if (spec.fill == '0') spec.align = '=';
    }
    TextBuilder text(heap_);
    switch (spec.type) {
      case 's': AppendText(text, value); break;
      case 'r': AppendRepr(text, value); break;
      case 'c':
        if (!value.is_string()) throw Failure{"%c needs a character"};
        AppendText(text, value);
        break;
      default:
        if (std::string_view("diuxXofFeEgG").find(spec.type) == std::string_view::npos) {
          throw Failure{fmt::format("unsupported format character '{}'", spec.type)};
        }
        out_.Append(FormatNumber(heap_, value, spec));
        return;
    }
    out_.Append(Pad(heap_, Truncated(text.text(), spec.precision), spec.width,
                    spec.align == '<' ? '<' : '>'));
  }

  Heap& heap_;
  const Value& arguments_;
  TextBuilder out_;
  size_t n_used_ = 0;
};

// --- '{}'
// ------------------------------------------------------------------------------------------

Spec ParseSpec(std::string_view s) {
  Reader reader(s);
  Spec spec;
  const auto is_align = [](char c) { return c == '<' || c == '>' || c == '^' || c == '='; };
  if (is_align(reader.PeekNext())) {
    spec.fill = reader.Next();
    spec.align = reader.Next();
  } else if (is_align(reader.Peek())) {
    spec.align = reader.Next();
  }
  if (reader.Peek() == '+' || reader.Peek() == ' ')
    spec.sign = reader.Next();
  else if (reader.Peek() == '-')
    reader.Next();
  spec.alternate = reader.Accept('#');
  if (reader.Peek() == '0' && spec.align == 0) {
    spec.fill = '0';
    spec.align = '=';
  }
  spec.width = reader.Number().value_or(0);
  spec.commas = reader.Accept(',');
  spec.precision = ReadPrecision(reader);
  if (!reader.done()) spec.type = reader.Next();
  if (!reader.done() || (spec.type != 0 && std::string_view("sdxXobfFeEgG%").find(spec.type) ==
                                               std::string_view::npos)) {
    throw Failure{"invalid format specifier"};
  }
  return spec;
}

Text FormatOne(Heap& heap, const Value& value, std::string_view spec_text) {
  if (spec_text.empty()) return ToText(heap, value);
  Spec spec = ParseSpec(spec_text);
  if (value.is_number() && !value.is_bool() && spec.type != 's') {
    if (spec.type == 0 && value.is_int()) spec.type = 'd';
    if (spec.type == 0 && !spec.precision) {
      return Pad(heap, ToText(heap, value), spec.width,
                 spec.align == '<' || spec.align == '^' ? spec.align : '>', spec.fill);
    }
    if (spec.type == 0) spec.type = 'g';
    if (value.is_float() && IsIntegerType(spec.type))
      throw Failure{"unknown format code for float"};
    return FormatNumber(heap, value, spec);
  }
  if (spec.type != 0 && spec.type != 's') return FormatNumber(heap, value, spec);
  const char align = spec.align == 0 || spec.align == '=' ? '<' : spec.align;
  return Pad(heap, Truncated(ToText(heap, value), spec.precision), spec.width, align, spec.fill);
}

Value FieldValue(Runtime& runtime, std::string_view field, const Arguments& arguments,
                 size_t& n_auto) {
  Reader reader(field);
  const std::string_view root = reader.Until(".[");
  Value value;
  const bool digits = root.find_first_not_of("0123456789") == std::string_view::npos;
  if (digits) {
    Reader number(root);
    const size_t index = root.empty() ? n_auto++ : static_cast<size_t>(*number.Number());
    if (index >= arguments.positional.size()) {
      throw Failure{"replacement index out of range for positional arguments"};
    }
    value = arguments.positional[index];
  } else {
    const auto it = std::find_if(arguments.named.begin(), arguments.named.end(),
                                 [&](const auto& named) { return named.first == root; });
    if (it == arguments.named.end())
      throw Failure{fmt::format("format has no value for '{}'", root)};
    value = it->second;
  }
  while (!reader.done()) {
    if (reader.Next() == '.') {
      value = GetAttribute(runtime, value, reader.Until(".["));
    } else {
      value = GetPath(runtime, value, runtime.heap.MakeString(reader.Until("]")));
      reader.Next();
    }
  }
  return value;
}

}  // namespace

Text PercentFormat(Runtime& runtime, const Text& pattern, const Value& arguments) {
  return PercentFormatter(runtime, arguments).Format(pattern);
}

Text BraceFormat(Runtime& runtime, const Text& pattern, const Arguments& arguments) {
  TextBuilder out(runtime.heap);
  Reader reader(pattern.bytes());
  size_t n_auto = 0;
  while (!reader.done()) {
    const size_t begin = reader.at();
    reader.Until("{}");
    out.AppendRange(pattern, begin, reader.at());
    if (reader.done()) break;
    const size_t brace_at = reader.at();
    const char brace = reader.Next();
    if (reader.Accept(brace)) {
      out.AppendRange(pattern, brace_at, brace_at + 1);
      continue;
    }
    if (brace == '}') throw Failure{"single '}' encountered in format string"};
    const std::string_view field = reader.Until("!:}");
    const bool repr = reader.Accept('!') && reader.Next() == 'r';
    const std::string_view spec = reader.Accept(':') ? reader.Until("}") : std::string_view();
    if (!reader.Accept('}')) throw Failure{"expected '}' before end of string"};
    const Value value = FieldValue(runtime, field, arguments, n_auto);
    TextBuilder repr_text(runtime.heap);
    if (repr) AppendRepr(repr_text, value);
    out.Append(FormatOne(runtime.heap, repr ? repr_text.TakeString() : value, spec));
  }
  return out.Take();
}

Text Pad(Heap& heap, const Text& text, int64_t width, char align, char fill) {
  const auto length = static_cast<int64_t>(CountUtf8(text.bytes()));
  if (width <= length) return text;
  const auto total = static_cast<size_t>(width - length);
  heap.CheckRoom(total);
  heap.Step(total / 64);
  const size_t odd_left = align == 'c' ? total & static_cast<size_t>(width) & 1 : 0;
  const size_t left = align == '<' ? 0 : align == '>' ? total : total / 2 + odd_left;
  TextBuilder out(heap);
  out.Append(std::string(left, fill));
  out.Append(text);
  out.Append(std::string(total - left, fill));
  return out.Take();
}

}  // namespace kvasir::jinja
