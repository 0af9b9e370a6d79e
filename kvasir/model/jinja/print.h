// Values as text. Marks of the strings within are kept; what is added around them is the
// template's.
#pragma once

#include <string>

#include "kvasir/model/jinja/value.h"

namespace kvasir::jinja {

std::string FormatFloat(double d);  // Python's repr: shortest digits that read back

// str(value): "" for undefined, Python's spelling for the rest.
Text ToText(Heap& heap, const Value& value);
void AppendText(TextBuilder& out, const Value& value);
// repr(value): strings quoted and escaped.
void AppendRepr(TextBuilder& out, const Value& value);

struct JsonStyle {
  bool indented = false;
  Text indent;  // one level, with `indented`
  Text item_separator = Text(", ");
  Text key_separator = Text(": ");
  bool ascii_only = false;
  bool sort_keys = false;
};
// json.dumps(value); throws Failure for what JSON cannot hold.
Text ToJson(Heap& heap, const Value& value, const JsonStyle& style);

}  // namespace kvasir::jinja
