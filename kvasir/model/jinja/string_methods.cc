// Methods of strings.
#include <fmt/core.h>

#include "kvasir/model/jinja/builtin.h"
#include "kvasir/model/jinja/format.h"
#include "kvasir/model/jinja/ops.h"
#include "kvasir/model/jinja/text_ops.h"
#include "kvasir/model/jinja/utf8.h"

namespace kvasir::jinja {
namespace {

template <Text (*kMap)(Heap&, const Text&)>
Value Map(Runtime& rt, Bound& args) {
  return rt.heap.MakeString(kMap(rt.heap, args.Str(0)));
}

Text PythonTitle(Heap& heap, const Text& text) { return Title(heap, text, false); }

std::optional<std::string_view> OptionalStr(const Bound& args, size_t i) {
  if (!args.Has(i) || args[i].is_none()) return std::nullopt;
  return args.Str(i).bytes();
}

template <bool kLeft, bool kRight>
Value StripMethod(Runtime& rt, Bound& args) {
  return rt.heap.MakeString(Strip(args.Str(0), OptionalStr(args, 1), kLeft, kRight));
}

Value StringList(Runtime& rt, std::vector<Text> parts, Kind kind = Kind::kList) {
  std::vector<Value> values;
  for (Text& part : parts) values.push_back(rt.heap.MakeString(std::move(part)));
  return rt.heap.MakeList(std::move(values), kind);
}

template <bool kFromRight>
Value SplitMethod(Runtime& rt, Bound& args) {
  return StringList(rt,
                    Split(rt.heap, args.Str(0), OptionalStr(args, 1), args.Int(2, -1), kFromRight));
}

Value SplitLinesMethod(Runtime& rt, Bound& args) {
  return StringList(rt, SplitLines(rt.heap, args.Str(0), args.Bool(1, false)));
}

template <bool kFromRight>
Value Partition(Runtime& rt, Bound& args) {
  const Text& text = args.Str(0);
  const std::string& separator = args.Str(1).bytes();
  if (separator.empty()) throw Failure{"empty separator"};
  const size_t at = kFromRight ? text.bytes().rfind(separator) : text.bytes().find(separator);
  if (at == std::string::npos) {
    return StringList(rt,
                      kFromRight ? std::vector<Text>{Text(), Text(), text}
                                 : std::vector<Text>{text, Text(), Text()},
                      Kind::kTuple);
  }
  const size_t after = at + separator.size();
  return StringList(rt, {text.Slice(0, at), text.Slice(at, after), text.Slice(after, text.size())},
                    Kind::kTuple);
}

bool HasAffix(std::string_view s, std::string_view affix, bool at_end) {
  return at_end ? s.ends_with(affix) : s.starts_with(affix);
}

// startswith and endswith: one string, or a tuple of them; bounds count characters.
template <bool kAtEnd>
Value Affix(Runtime& rt, Bound& args) {
  const Value part = GetSlice(rt, args[0], args[2], args[3], Value::None());
  const std::string& s = part.str();
  if (args[1].kind() != Kind::kTuple) {
    return Value::Bool(HasAffix(s, args.Str(1).bytes(), kAtEnd));
  }
  for (const Value& affix : args[1].list().items) {
    if (affix.is_string() && HasAffix(s, affix.str(), kAtEnd)) return Value::Bool(true);
  }
  return Value::Bool(false);
}

template <bool kSuffix>
Value RemoveAffix(Runtime& rt, Bound& args) {
  const Text& text = args.Str(0);
  const std::string& affix = args.Str(1).bytes();
  if (!HasAffix(text.bytes(), affix, kSuffix)) return args[0];
  const size_t left = text.size() - affix.size();
  return rt.heap.MakeString(kSuffix ? text.Slice(0, left) : text.Slice(affix.size(), text.size()));
}

Value ReplaceMethod(Runtime& rt, Bound& args) {
  return rt.heap.MakeString(
      Replace(rt.heap, args.Str(0), args.Str(1).bytes(), args.Str(2), args.Int(3, -1)));
}

// Index in characters of the first or last match, or -1.
int64_t FindChars(Runtime& rt, Bound& args, bool from_right) {
  const Value part = GetSlice(rt, args[0], args[2], args[3], Value::None());
  const std::string& s = part.str();
  const std::string& wanted = args.Str(1).bytes();
  const size_t at = from_right ? s.rfind(wanted) : s.find(wanted);
  if (at == std::string::npos) return -1;
  int64_t skipped = 0;
  if (args.Has(2) && !args[2].is_none()) {
    const auto n = static_cast<int64_t>(CountUtf8(args[0].str()));
    const int64_t start = args.Int(2, 0);
    skipped = std::max<int64_t>(0, start < 0 ? start + n : start);
  }
  return skipped + static_cast<int64_t>(CountUtf8(std::string_view(s).substr(0, at)));
}

template <bool kFromRight>
Value Find(Runtime& rt, Bound& args) {
  return Value::Int(FindChars(rt, args, kFromRight));
}

template <bool kFromRight>
Value Index(Runtime& rt, Bound& args) {
  const int64_t at = FindChars(rt, args, kFromRight);
  if (at < 0) throw Failure{"substring not found"};
  return Value::Int(at);
}

Value Count(Runtime& rt, Bound& args) {
  const std::string& s = args.Str(0).bytes();
  const std::string& wanted = args.Str(1).bytes();
  rt.heap.Step(s.size() / 16);
  if (wanted.empty()) return Value::Int(static_cast<int64_t>(CountUtf8(s)) + 1);
  int64_t n = 0;
  for (size_t at = s.find(wanted); at != std::string::npos;
       at = s.find(wanted, at + wanted.size())) {
    ++n;
  }
  return Value::Int(n);
}

Value JoinMethod(Runtime& rt, Bound& args) {
  TextBuilder out(rt.heap);
  bool first = true;
  for (const Value& item : Iterate(rt.heap, args[1])) {
    if (!item.is_string()) {
      throw Failure{fmt::format("join(): expected strings, found '{}'", TypeName(item))};
    }
    if (!first) out.Append(args.Str(0));
    first = false;
    out.Append(item.text());
  }
  return out.TakeString();
}

Value FormatMethod(Runtime& rt, Bound& args) {
  return rt.heap.MakeString(BraceFormat(rt, args.Str(0), args.rest));
}

template <char kAlign>
Value Justify(Runtime& rt, Bound& args) {
  const std::string_view fill = args.Str(2, " ");
  if (fill.size() != 1) throw Failure{"the fill must be one character"};
  return rt.heap.MakeString(Pad(rt.heap, args.Str(0), args.Int(1, 0), kAlign, fill[0]));
}

Value ZFill(Runtime& rt, Bound& args) {
  const Text& text = args.Str(0);
  const size_t sign = !text.empty() && (text.bytes()[0] == '-' || text.bytes()[0] == '+');
  const int64_t width = args.Int(1, 0) - static_cast<int64_t>(sign);
  TextBuilder out(rt.heap);
  out.AppendRange(text, 0, sign);
  out.Append(Pad(rt.heap, text.Slice(sign, text.size()), width, '>', '0'));
  return out.TakeString();
}

// Whether there are characters, and all pass.
template <bool (*kTest)(char32_t)>
Value All(Runtime& rt, Bound& args) {
  const std::string& s = args.Str(0).bytes();
  rt.heap.Step(s.size() / 16);
  for (size_t at = 0; at < s.size();) {
    const Utf8Char c = DecodeUtf8(s, at);
    if (!kTest(c.code)) return Value::Bool(false);
    at += c.length;
  }
  return Value::Bool(!s.empty());
}

bool IsAlphanumeric(char32_t code) { return IsLetter(code) || IsDigit(code); }

template <char kTest>
Value CaseTest(Runtime& rt, Bound& args) {
  Arguments value;
  value.positional.push_back(args[0]);
  return Value::Bool(ApplyTest(rt, kTest == 'u' ? "upper" : "lower", std::move(value)));
}

}  // namespace

std::span<const Builtin> StringMethods() {
  static constexpr Builtin kTable[] = {
      {"strip", "self chars?", StripMethod<true, true>},
      {"lstrip", "self chars?", StripMethod<true, false>},
      {"rstrip", "self chars?", StripMethod<false, true>},
      {"split", "self sep? maxsplit?", SplitMethod<false>},
      {"rsplit", "self sep? maxsplit?", SplitMethod<true>},
      {"splitlines", "self keepends?", SplitLinesMethod},
      {"partition", "self sep", Partition<false>},
      {"rpartition", "self sep", Partition<true>},
      {"startswith", "self prefix start? end?", Affix<false>},
      {"endswith", "self suffix start? end?", Affix<true>},
      {"removeprefix", "self prefix", RemoveAffix<false>},
      {"removesuffix", "self suffix", RemoveAffix<true>},
      {"replace", "self old new count?", ReplaceMethod},
      {"find", "self sub start? end?", Find<false>},
      {"rfind", "self sub start? end?", Find<true>},
      {"index", "self sub start? end?", Index<false>},
      {"rindex", "self sub start? end?", Index<true>},
      {"count", "self sub", Count},
      {"join", "self iterable", JoinMethod},
      {"format", "self ...", FormatMethod},
      {"upper", "self", Map<Upper>},
      {"lower", "self", Map<Lower>},
      {"casefold", "self", Map<Lower>},
      {"capitalize", "self", Map<Capitalize>},
      {"title", "self", Map<PythonTitle>},
      {"swapcase", "self", Map<SwapCase>},
      {"ljust", "self width fillchar?", Justify<'<'>},
      {"rjust", "self width fillchar?", Justify<'>'>},
      {"center", "self width fillchar?", Justify<'c'>},
      {"zfill", "self width", ZFill},
      {"isdigit", "self", All<IsDigit>},
      {"isdecimal", "self", All<IsDigit>},
      {"isnumeric", "self", All<IsDigit>},
      {"isalpha", "self", All<IsLetter>},
      {"isalnum", "self", All<IsAlphanumeric>},
      {"isspace", "self", All<IsSpace>},
      {"isupper", "self", CaseTest<'u'>},
      {"islower", "self", CaseTest<'l'>},
  };
  return kTable;
}

}  // namespace kvasir::jinja
