// What may follow `is`.
#include <fmt/core.h>

#include <cmath>

#include "kvasir/model/jinja/builtin.h"
#include "kvasir/model/jinja/ops.h"
#include "kvasir/model/jinja/utf8.h"

namespace kvasir::jinja {
namespace {

template <bool (*kTest)(const Value&)>
Value Is(Runtime&, Bound& args) {
  return Value::Bool(kTest(args[0]));
}

template <Kind kKind>
Value IsKind(Runtime&, Bound& args) {
  return Value::Bool(args[0].kind() == kKind);
}

template <CompareOp kOp>
Value Compares(Runtime& rt, Bound& args) {
  return Value::Bool(Compare(rt.heap, kOp, args[0], args[1]));
}

bool Defined(const Value& v) { return !v.is_undefined(); }
bool Number(const Value& v) { return v.is_number(); }
bool True(const Value& v) { return v.is_bool() && v.bool_value(); }
bool False(const Value& v) { return v.is_bool() && !v.bool_value(); }
bool Callable(const Value& v) { return v.kind() == Kind::kObject; }
// An undefined value can be iterated and asked for its length; it is empty.
bool Iterable(const Value& v) {
  return v.is_undefined() || v.is_string() || v.is_sequence() || v.is_dict();
}
bool Sequence(const Value& v) { return Iterable(v) && v.kind() != Kind::kGenerator; }

int64_t Whole(const Value& v) {
  if (v.is_undefined()) FailUndefined(v);
  if (!v.is_integral()) throw Failure{fmt::format("an integer is needed, found '{}'", TypeName(v))};
  return v.int_value();
}
bool Odd(const Value& v) { return Whole(v) % 2 != 0; }
bool Even(const Value& v) { return Whole(v) % 2 == 0; }

Value DivisibleBy(Runtime&, Bound& args) {
  const int64_t by = Whole(args[1]);
  if (by == 0) throw Failure{"division by zero"};
  return Value::Bool(by == -1 || Whole(args[0]) % by == 0);
}

// str.islower and str.isupper: some cased character, and none of the other case.
template <bool (*kWanted)(char32_t), bool (*kOther)(char32_t)>
Value HasCase(Runtime& rt, Bound& args) {
  if (!args[0].is_string()) return Value::Bool(false);
  const std::string& s = args[0].str();
  rt.heap.Step(s.size() / 16);
  bool any = false;
  for (size_t at = 0; at < s.size();) {
    const Utf8Char c = DecodeUtf8(s, at);
    if (kOther(c.code)) return Value::Bool(false);
    any |= kWanted(c.code);
    at += c.length;
  }
  return Value::Bool(any);
}

Value SameAs(Runtime& rt, Bound& args) {
  const Value& a = args[0];
  const Value& b = args[1];
  if (a.kind() != b.kind()) return Value::Bool(false);
  if (a.is_sequence()) return Value::Bool(&a.list() == &b.list());
  if (a.is_dict()) return Value::Bool(&a.dict() == &b.dict());
  return Value::Bool(Equal(rt.heap, a, b));
}

Value IsFilter(Runtime&, Bound& args) {
  return Value::Bool(FindFilter(args.Str(0).bytes()) != nullptr);
}
Value IsTest(Runtime&, Bound& args) {
  return Value::Bool(FindTest(args.Str(0).bytes()) != nullptr);
}
Value IsEscaped(Runtime&, Bound&) { return Value::Bool(false); }

}  // namespace

std::span<const Builtin> Tests() {
  static constexpr Builtin kTable[] = {
      {"defined", "value", Is<Defined>},
      {"undefined", "value", IsKind<Kind::kUndefined>},
      {"none", "value", IsKind<Kind::kNone>},
      {"boolean", "value", IsKind<Kind::kBool>},
      {"integer", "value", IsKind<Kind::kInt>},
      {"float", "value", IsKind<Kind::kFloat>},
      {"string", "value", IsKind<Kind::kString>},
      {"mapping", "value", IsKind<Kind::kDict>},
      {"number", "value", Is<Number>},
      {"true", "value", Is<True>},
      {"false", "value", Is<False>},
      {"iterable", "value", Is<Iterable>},
      {"sequence", "value", Is<Sequence>},
      {"callable", "value", Is<Callable>},
      {"odd", "value", Is<Odd>},
      {"even", "value", Is<Even>},
      {"divisibleby", "value num", DivisibleBy},
      {"lower", "value", HasCase<IsLower, IsUpper>},
      {"upper", "value", HasCase<IsUpper, IsLower>},
      {"sameas", "value other", SameAs},
      {"in", "value seq", Compares<CompareOp::kIn>},
      {"eq", "value other", Compares<CompareOp::kEq>},
      {"equalto", "value other", Compares<CompareOp::kEq>},
      {"==", "value other", Compares<CompareOp::kEq>},
      {"ne", "value other", Compares<CompareOp::kNe>},
      {"!=", "value other", Compares<CompareOp::kNe>},
      {"lt", "value other", Compares<CompareOp::kLt>},
      {"lessthan", "value other", Compares<CompareOp::kLt>},
      {"<", "value other", Compares<CompareOp::kLt>},
      {"le", "value other", Compares<CompareOp::kLe>},
      {"<=", "value other", Compares<CompareOp::kLe>},
      {"gt", "value other", Compares<CompareOp::kGt>},
      {"greaterthan", "value other", Compares<CompareOp::kGt>},
      {">", "value other", Compares<CompareOp::kGt>},
      {"ge", "value other", Compares<CompareOp::kGe>},
      {">=", "value other", Compares<CompareOp::kGe>},
      {"filter", "value", IsFilter},
      {"test", "value", IsTest},
      {"escaped", "value", IsEscaped},
  };
  return kTable;
}

}  // namespace kvasir::jinja
