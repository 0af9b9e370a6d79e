// Filters whose result is a string.
#include <cmath>

#include "kvasir/model/jinja/builtin.h"
#include "kvasir/model/jinja/format.h"
#include "kvasir/model/jinja/ops.h"
#include "kvasir/model/jinja/print.h"
#include "kvasir/model/jinja/text_ops.h"
#include "kvasir/model/jinja/utf8.h"

namespace kvasir::jinja {
namespace {

template <Text (*kMap)(Heap&, const Text&)>
Value Map(Runtime& rt, Bound& args) {
  return rt.heap.MakeString(kMap(rt.heap, ToText(rt.heap, args[0])));
}

Text JinjaTitle(Heap& heap, const Text& text) { return Title(heap, text, true); }
Text Same(Heap&, const Text& text) { return text; }

Text Escape(Heap& heap, const Text& text) {
  heap.Step(text.size() / 16);
  TextBuilder out(heap);
  for (size_t at = 0; at < text.size(); ++at) {
    const bool from_input = text.from_input(at);
    switch (text.bytes()[at]) {
      case '&': out.Append("&amp;", from_input); break;
      case '<': out.Append("&lt;", from_input); break;
      case '>': out.Append("&gt;", from_input); break;
      case '\'': out.Append("&#39;", from_input); break;
      case '"': out.Append("&#34;", from_input); break;
      default: out.AppendRange(text, at, at + 1);
    }
  }
  return out.Take();
}

Value Trim(Runtime& rt, Bound& args) {
  std::optional<std::string_view> chars;
  if (args.Has(1) && !args[1].is_none()) chars = args.Str(1).bytes();
  return rt.heap.MakeString(Strip(ToText(rt.heap, args[0]), chars, true, true));
}

Value ReplaceFilter(Runtime& rt, Bound& args) {
  const Text from = ToText(rt.heap, args[1]);
  const int64_t count = args[3].is_none() ? -1 : args.Int(3, -1);
  return rt.heap.MakeString(
      Replace(rt.heap, ToText(rt.heap, args[0]), from.bytes(), ToText(rt.heap, args[2]), count));
}

Value Join(Runtime& rt, Bound& args) {
  const Text separator = ToText(rt.heap, args[1]);
  TextBuilder out(rt.heap);
  bool first = true;
  for (const Value& item : Iterate(rt.heap, args[0])) {
    if (!first) out.Append(separator);
    first = false;
    AppendText(out, args.Has(2) && !args[2].is_none() ? GetPath(rt, item, args[2]) : item);
  }
  return out.TakeString();
}

Value Indent(Runtime& rt, Bound& args) {
  Text margin;
  if (args[1].is_string()) {
    margin = args[1].text();
  } else {
    margin = Pad(rt.heap, Text(), args.Int(1, 4), '<');
  }
  TextBuilder source(rt.heap);
  AppendText(source, args[0]);
  source.Append("\n");  // so that an empty last line is a line
  const bool blank = args.Bool(3, false);
  TextBuilder out(rt.heap);
  if (args.Bool(2, false)) out.Append(margin);
  bool first = true;
  for (const Text& line : SplitLines(rt.heap, source.Take(), false)) {
    if (!first) out.Append("\n");
    if (!first && (blank || !line.empty())) out.Append(margin);
    first = false;
    out.Append(line);
  }
  return out.TakeString();
}

// Bytes of the first `n` characters.
size_t PrefixBytes(std::string_view s, int64_t n) {
  size_t at = 0;
  for (; n > 0 && at < s.size(); --n) at += DecodeUtf8(s, at).length;
  return at;
}

Value Truncate(Runtime& rt, Bound& args) {
  const Text text = ToText(rt.heap, args[0]);
  const int64_t length = args.Int(1, 255);
  const Text end = args.Has(3) ? args.Str(3) : Text("...");
  const int64_t leeway = args.Int(4, 5);
  const auto n_char = static_cast<int64_t>(CountUtf8(text.bytes()));
  const auto n_end = static_cast<int64_t>(CountUtf8(end.bytes()));
  if (length < n_end || leeway < 0)
    throw Failure{"truncate(): expected a length of at least the end's"};
  if (n_char - leeway <= length) return rt.heap.MakeString(text);
  size_t cut = PrefixBytes(text.bytes(), length - n_end);
  if (!args.Bool(2, false)) {
    const size_t space = std::string_view(text.bytes()).substr(0, cut).rfind(' ');
    if (space != std::string_view::npos) cut = space;
  }
  TextBuilder out(rt.heap);
  out.AppendRange(text, 0, cut);
  out.Append(end);
  return out.TakeString();
}

Value Center(Runtime& rt, Bound& args) {
  return rt.heap.MakeString(Pad(rt.heap, ToText(rt.heap, args[0]), args.Int(1, 80), 'c'));
}

Value FormatFilter(Runtime& rt, Bound& args) {
  const Text pattern = ToText(rt.heap, args[0]);
  if (args.rest.named.empty()) {
    const Value values = rt.heap.MakeList(std::move(args.rest.positional), Kind::kTuple);
    return rt.heap.MakeString(PercentFormat(rt, pattern, values));
  }
  Dict* named = rt.heap.NewDict();
  for (auto& [name, value] : args.rest.named) named->Set(rt.heap, rt.heap.MakeString(name), value);
  return rt.heap.MakeString(PercentFormat(rt, pattern, Value::Of(named)));
}

Value ToJsonFilter(Runtime& rt, Bound& args) {
  JsonStyle style;
  style.ascii_only = args.Bool(2, false);
  style.sort_keys = args.Bool(4, false);
  if (args.Has(1) && !args[1].is_none()) {
    style.indented = true;
    style.item_separator = Text(",");
    style.indent = args[1].is_string() ? args[1].text() : Pad(rt.heap, Text(), args.Int(1, 0), '<');
  }
  if (args.Has(3) && !args[3].is_none()) {
    const std::vector<Value> separators = Iterate(rt.heap, args[3]);
    if (separators.size() != 2 || !separators[0].is_string() || !separators[1].is_string()) {
      throw Failure{"tojson(): argument 'separators' must be two strings"};
    }
    style.item_separator = separators[0].text();
    style.key_separator = separators[1].text();
  }
  return rt.heap.MakeString(ToJson(rt.heap, args[0], style));
}

}  // namespace

std::span<const Builtin> TextFilters() {
  static constexpr Builtin kTable[] = {
      {"trim", "value chars?", Trim},
      {"upper", "value", Map<Upper>},
      {"lower", "value", Map<Lower>},
      {"capitalize", "value", Map<Capitalize>},
      {"title", "value", Map<JinjaTitle>},
      {"string", "value", Map<Same>},
      {"safe", "value", Map<Same>},  // nothing is escaped unless asked for
      {"escape", "value", Map<Escape>},
      {"e", "value", Map<Escape>},
      {"forceescape", "value", Map<Escape>},
      {"replace", "value old new count?", ReplaceFilter},
      {"join", "value d? attribute?", Join},
      {"indent", "value width? first? blank?", Indent},
      {"truncate", "value length? killwords? end? leeway?", Truncate},
      {"center", "value width?", Center},
      {"format", "value ...", FormatFilter},
      {"tojson", "value indent? ensure_ascii? separators? sort_keys?", ToJsonFilter},
  };
  return kTable;
}

}  // namespace kvasir::jinja
