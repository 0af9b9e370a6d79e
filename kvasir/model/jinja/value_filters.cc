// Filters of single values: defaults, numbers, lengths, pairs of a dict.
#include <fmt/core.h>

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <optional>

#include "kvasir/model/jinja/builtin.h"
#include "kvasir/model/jinja/ops.h"
#include "kvasir/model/jinja/utf8.h"

namespace kvasir::jinja {
namespace {

Value Default(Runtime& rt, Bound& args) {
  const bool keep = args.Bool(2, false) ? Truth(args[0]) : args.Has(0);
  if (keep) return args[0];
  return args.Has(1) ? args[1] : rt.heap.MakeString("");
}

// The number that `s` spells as a whole, white space aside.
std::optional<int64_t> ParseInt(std::string_view s, int base) {
  const ByteRange range = TrimRange(s);
  s = s.substr(range.begin, range.end - range.begin);
  if (s.starts_with('+') && !s.starts_with("+-")) s.remove_prefix(1);
  const std::string_view prefix = s.substr(0, 2);
  if ((base == 16 && prefix == "0x") || (base == 8 && prefix == "0o") ||
      (base == 2 && prefix == "0b")) {
    s.remove_prefix(2);
  }
  int64_t value = 0;
  const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), value, base);
  if (s.empty() || error != std::errc() || end != s.data() + s.size()) return std::nullopt;
  return value;
}

std::optional<double> ParseFloat(std::string_view s) {
  const ByteRange range = TrimRange(s);
  s = s.substr(range.begin, range.end - range.begin);
  if (s.starts_with('+') && !s.starts_with("+-")) s.remove_prefix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), value);
  if (s.empty() || error != std::errc() || end != s.data() + s.size()) return std::nullopt;
  return value;
}

std::optional<int64_t> Truncated(std::optional<double> d) {
  if (!d || !(std::fabs(*d) < 9.2e18)) return std::nullopt;
  return static_cast<int64_t>(*d);
}

Value Int(Runtime&, Bound& args) {
  const Value& value = args[0];
  const Value fallback = args.Has(1) ? args[1] : Value::Int(0);
  std::optional<int64_t> number;
  if (value.is_integral()) {
    number = value.int_value();
  } else if (value.is_float()) {
    number = Truncated(value.float_value());
  } else if (value.is_string()) {
    const int64_t base = args.Int(2, 10);
    if (base < 2 || base > 36) throw Failure{"int(): argument 'base' must be 2 to 36"};
    number = ParseInt(value.str(), static_cast<int>(base));
    if (!number) number = Truncated(ParseFloat(value.str()));
  }
  return number ? Value::Int(*number) : fallback;
}

Value Float(Runtime&, Bound& args) {
  const Value& value = args[0];
  if (value.is_number()) return Value::Float(value.float_value());
  if (value.is_string()) {
    if (const auto number = ParseFloat(value.str())) return Value::Float(*number);
  }
  return args.Has(1) ? args[1] : Value::Float(0.0);
}

Value Abs(Runtime&, Bound& args) {
  const Value& value = args[0];
  if (value.is_undefined()) FailUndefined(value);
  if (value.is_float()) return Value::Float(std::fabs(value.float_value()));
  if (!value.is_integral()) {
    throw Failure{fmt::format("bad operand type for abs(): '{}'", TypeName(value))};
  }
  return value.int_value() < 0 ? Negate(value) : Value::Int(value.int_value());
}

Value Round(Runtime&, Bound& args) {
  const Value& value = args[0];
  if (value.is_undefined()) FailUndefined(value);
  if (!value.is_number())
    throw Failure{fmt::format("round() needs a number, found '{}'", TypeName(value))};
  const int64_t precision = args.Int(1, 0);
  const std::string_view method = args.Str(2, "common");
  if (precision < -300 || precision > 300)
    throw Failure{"round(): argument 'precision' is out of range"};
  const double scale = std::pow(10.0, static_cast<double>(precision));
  if (method == "ceil") return Value::Float(std::ceil(value.float_value() * scale) / scale);
  if (method == "floor") return Value::Float(std::floor(value.float_value() * scale) / scale);
  if (method != "common") throw Failure{"round(): argument 'method' must be common, ceil or floor"};
  if (value.is_integral() && precision >= 0) return Value::Int(value.int_value());
  if (!std::isfinite(value.float_value())) return value;
  if (precision < 0) {
    const double rounded = std::nearbyint(value.float_value() * scale) / scale;
    return value.is_float() ? Value::Float(rounded) : Value::Int(static_cast<int64_t>(rounded));
  }
  // Decimal digits are rounded exactly by the formatter, as Python does.
  return Value::Float(
      std::strtod(fmt::format("{:.{}f}", value.float_value(), precision).c_str(), nullptr));
}

Value LengthFilter(Runtime& rt, Bound& args) {
  return Value::Int(static_cast<int64_t>(Length(rt.heap, args[0])));
}

Value WordCount(Runtime& rt, Bound& args) {
  const std::string& s = args.Str(0).bytes();
  rt.heap.Step(s.size() / 16);
  int64_t n = 0;
  bool inside = false;
  for (size_t at = 0; at < s.size();) {
    const Utf8Char c = DecodeUtf8(s, at);
    const bool word = IsLetter(c.code) || IsDigit(c.code) || c.code == '_';
    n += word && !inside;
    inside = word;
    at += c.length;
  }
  return Value::Int(n);
}

Value Items(Runtime& rt, Bound& args) {
  std::vector<Value> items;
  if (args.Has(0)) {
    if (!args[0].is_dict()) throw Failure{"can only get item pairs from a mapping"};
    for (const auto& [key, value] : args[0].dict().entries()) {
      items.push_back(rt.heap.MakeList({key, value}, Kind::kTuple));
    }
  }
  return rt.heap.MakeList(std::move(items), Kind::kGenerator);
}

Value Attr(Runtime& rt, Bound& args) {
  const Value& object = args[0];
  if (object.is_undefined()) FailUndefined(object);
  if (object.is_dict()) return MakeUndefined(rt.heap, "dict object has no such attribute");
  return GetAttribute(rt, object, args.Str(1).bytes());
}

}  // namespace

std::span<const Builtin> ValueFilters() {
  static constexpr Builtin kTable[] = {
      {"default", "value default_value? boolean?", Default},
      {"d", "value default_value? boolean?", Default},
      {"int", "value default? base?", Int},
      {"float", "value default?", Float},
      {"abs", "value", Abs},
      {"round", "value precision? method?", Round},
      {"length", "value", LengthFilter},
      {"count", "value", LengthFilter},
      {"wordcount", "value", WordCount},
      {"items", "value", Items},
      {"attr", "value name", Attr},
  };
  return kTable;
}

}  // namespace kvasir::jinja
