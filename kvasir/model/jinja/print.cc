#include "kvasir/model/jinja/print.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "kvasir/model/jinja/ops.h"
#include "kvasir/model/jinja/utf8.h"

namespace kvasir::jinja {
namespace {

// Python prints a container that holds itself as [...]; here a level limit ends it.
void AppendItems(TextBuilder& out, const std::vector<Value>& items) {
  bool first = true;
  for (const Value& item : items) {
    if (!first) out.Append(", ");
    first = false;
    AppendRepr(out, item);
  }
}

void AppendDictRepr(TextBuilder& out, const Dict& dict) {
  out.Append(dict.kind() == Kind::kNamespace ? "<Namespace {" : "{");
  bool first = true;
  for (const auto& [key, value] : dict.entries()) {
    if (!first) out.Append(", ");
    first = false;
    AppendRepr(out, key);
    out.Append(": ");
    AppendRepr(out, value);
  }
  out.Append(dict.kind() == Kind::kNamespace ? "}>" : "}");
}

std::string ReprEscape(char32_t code, char quote) {
  switch (code) {
    case '\n': return "\\n";
    case '\r': return "\\r";
    case '\t': return "\\t";
    case '\\': return "\\\\";
    default: break;
  }
  if (code == static_cast<unsigned char>(quote)) return {'\\', quote};
  if (code < 0x100) return fmt::format("\\x{:02x}", static_cast<uint32_t>(code));
  if (code < 0x10000) return fmt::format("\\u{:04x}", static_cast<uint32_t>(code));
  return fmt::format("\\U{:08x}", static_cast<uint32_t>(code));
}

// Copies `text` with `escape(code)` in place of the characters for which `plain(code)` is false.
template <typename Plain, typename Escape>
void AppendEscaped(TextBuilder& out, const Text& text, const Plain& plain, const Escape& escape) {
  const std::string& s = text.bytes();
  size_t copied = 0;
  for (size_t at = 0; at < s.size();) {
    const Utf8Char c = DecodeUtf8(s, at);
    if (!plain(c.code)) {
      out.AppendRange(text, copied, at);
      out.Append(escape(c.code), text.from_input(at));
      copied = at + c.length;
    }
    at += c.length;
  }
  out.AppendRange(text, copied, s.size());
}

void AppendStringRepr(TextBuilder& out, const Text& text) {
  const std::string& s = text.bytes();
  const bool has_single = s.find('\'') != std::string::npos;
  const char quote = has_single && s.find('"') == std::string::npos ? '"' : '\'';
  const std::string_view quotes(&quote, 1);
  out.Append(quotes);
  AppendEscaped(
      out, text,
      [quote](char32_t code) {
        return IsPrintable(code) && code != '\\' && code != static_cast<unsigned char>(quote);
      },
      [quote](char32_t code) { return ReprEscape(code, quote); });
  out.Append(quotes);
}

// --- JSON
// -----------------------------------------------------------------------------------------

std::string JsonEscape(char32_t code) {
  switch (code) {
    case '"': return "\\\"";
    case '\\': return "\\\\";
    case '\n': return "\\n";
    case '\r': return "\\r";
    case '\t': return "\\t";
    case '\b': return "\\b";
    case '\f': return "\\f";
    default: break;
  }
  if (code < 0x10000) return fmt::format("\\u{:04x}", static_cast<uint32_t>(code));
  const uint32_t offset = static_cast<uint32_t>(code) - 0x10000;
  return fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + (offset >> 10), 0xDC00 + (offset & 0x3FF));
}

class JsonWriter {
 public:
  JsonWriter(TextBuilder& out, const JsonStyle& style) : out_(out), style_(style) {}

  void Write(const Value& value, int level) {
    out_.heap().Step();
    const Heap::Level guard(out_.heap());
    switch (value.kind()) {
      case Kind::kNone: out_.Append("null"); return;
      case Kind::kBool: out_.Append(value.bool_value() ? "true" : "false"); return;
      case Kind::kInt: out_.Append(fmt::format("{}", value.int_value())); return;
      case Kind::kFloat: out_.Append(Number(value.float_value())); return;
      case Kind::kString: WriteString(value.text()); return;
      case Kind::kList:
      case Kind::kTuple: WriteList(value.list().items, level); return;
      case Kind::kDict: WriteDict(value.dict(), level); return;
      default: break;
    }
    throw Failure{fmt::format("object of type '{}' is not JSON serializable", TypeName(value))};
  }

 private:
  static std::string Number(double d) {
    if (std::isnan(d)) return "NaN";
    if (std::isinf(d)) return d > 0 ? "Infinity" : "-Infinity";
    return FormatFloat(d);
  }

  void WriteString(const Text& text) {
    out_.Append("\"");
    AppendEscaped(
        out_, text,
        [this](char32_t code) {
          return code >= 0x20 && code != '"' && code != '\\' && (code < 0x7F || !style_.ascii_only);
        },
        JsonEscape);
    out_.Append("\"");
  }

  void NewLine(int level) {
    if (!style_.indented) return;
    out_.Append("\n");
    for (int i = 0; i < level; ++i) out_.Append(style_.indent);
  }

  void WriteList(const std::vector<Value>& items, int level) {
    if (items.empty()) return out_.Append("[]");
    out_.Append("[");
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out_.Append(style_.item_separator);
      NewLine(level + 1);
      Write(items[i], level + 1);
    }
    NewLine(level);
    out_.Append("]");
  }

  void WriteKey(const Value& key) {
    if (key.is_string()) return WriteString(key.text());
    if (!key.is_number() && !key.is_none()) {
      throw Failure{
          fmt::format("keys must be str, int, float, bool or None, not {}", TypeName(key))};
    }
    out_.Append("\"");
    Write(key, 0);
    out_.Append("\"");
  }

  void WriteDict(const Dict& dict, int level) {
    if (dict.size() == 0) return out_.Append("{}");
    std::vector<const Dict::Entry*> entries;
    for (const Dict::Entry& entry : dict.entries()) entries.push_back(&entry);
    if (style_.sort_keys) {
      std::stable_sort(entries.begin(), entries.end(), [this](const auto* a, const auto* b) {
        return Compare(out_.heap(), CompareOp::kLt, a->first, b->first);
      });
    }
    out_.Append("{");
    for (size_t i = 0; i < entries.size(); ++i) {
      if (i > 0) out_.Append(style_.item_separator);
      NewLine(level + 1);
      WriteKey(entries[i]->first);
      out_.Append(style_.key_separator);
      Write(entries[i]->second, level + 1);
    }
    NewLine(level);
    out_.Append("}");
  }

  TextBuilder& out_;
  const JsonStyle& style_;
};

}  // namespace

std::string FormatFloat(double d) {
  if (std::isnan(d)) return "nan";
  if (std::isinf(d)) return d > 0 ? "inf" : "-inf";
  std::string digits = fmt::format("{}", d);
  if (digits.find_first_of(".e") == std::string::npos) digits += ".0";
  return digits;
}

void AppendText(TextBuilder& out, const Value& value) {
  if (value.is_string()) {
    out.Append(value.text());
  } else if (!value.is_undefined()) {
    AppendRepr(out, value);
  }
}

Text ToText(Heap& heap, const Value& value) {
  if (value.is_string()) return value.text();
  TextBuilder out(heap);
  AppendText(out, value);
  return out.Take();
}

void AppendRepr(TextBuilder& out, const Value& value) {
  out.heap().Step();
  const Heap::Level guard(out.heap());
  switch (value.kind()) {
    case Kind::kUndefined: out.Append("Undefined"); return;
    case Kind::kNone: out.Append("None"); return;
    case Kind::kBool: out.Append(value.bool_value() ? "True" : "False"); return;
    case Kind::kInt: out.Append(fmt::format("{}", value.int_value())); return;
    case Kind::kFloat: out.Append(FormatFloat(value.float_value())); return;
    case Kind::kString: AppendStringRepr(out, value.text()); return;
    case Kind::kList:
      out.Append("[");
      AppendItems(out, value.list().items);
      out.Append("]");
      return;
    case Kind::kTuple:
      out.Append("(");
      AppendItems(out, value.list().items);
      out.Append(value.list().items.size() == 1 ? ",)" : ")");
      return;
    case Kind::kGenerator: out.Append("<generator object>"); return;
    case Kind::kDict:
    case Kind::kNamespace: AppendDictRepr(out, value.dict()); return;
    case Kind::kObject: out.Append(fmt::format("<{}>", TypeName(value))); return;
  }
}

Text ToJson(Heap& heap, const Value& value, const JsonStyle& style) {
  TextBuilder out(heap);
  JsonWriter(out, style).Write(value, 0);
  return out.Take();
}

}  // namespace kvasir::jinja
