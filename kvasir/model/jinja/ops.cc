#include "kvasir/model/jinja/ops.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "kvasir/model/jinja/format.h"

namespace kvasir::jinja {
namespace {

std::string_view Symbol(BinaryOp op) {
  switch (op) {
    case BinaryOp::kAdd: return "+";
    case BinaryOp::kSub: return "-";
    case BinaryOp::kMul: return "*";
    case BinaryOp::kDiv: return "/";
    case BinaryOp::kFloorDiv: return "//";
    case BinaryOp::kMod: return "%";
    case BinaryOp::kPow: return "**";
  }
  return "?";
}

[[noreturn]] void FailOperands(std::string_view symbol, const Value& a, const Value& b) {
  throw Failure{fmt::format("unsupported operand types for {}: '{}' and '{}'", symbol, TypeName(a),
                            TypeName(b))};
}

[[noreturn]] void FailOverflow(BinaryOp op) {
  throw Failure{fmt::format("result of '{}' does not fit 64 bits", Symbol(op))};
}

[[noreturn]] void FailZero() { throw Failure{"division by zero"}; }

int64_t IntPower(int64_t base, int64_t exponent) {
  int64_t result = 1;
  if (base == 0 || base == 1) return exponent == 0 ? 1 : base;
  if (base == -1) return exponent % 2 == 0 ? 1 : -1;
  for (int64_t i = 0; i < exponent; ++i) {  // overflows within 63 rounds
    if (__builtin_mul_overflow(result, base, &result)) FailOverflow(BinaryOp::kPow);
  }
  return result;
}

Value IntArithmetic(BinaryOp op, int64_t a, int64_t b) {
  int64_t out = 0;
  bool overflow = false;
  switch (op) {
    case BinaryOp::kAdd: overflow = __builtin_add_overflow(a, b, &out); break;
    case BinaryOp::kSub: overflow = __builtin_sub_overflow(a, b, &out); break;
    case BinaryOp::kMul: overflow = __builtin_mul_overflow(a, b, &out); break;
    case BinaryOp::kDiv:
      if (b == 0) FailZero();
      return Value::Float(static_cast<double>(a) / static_cast<double>(b));
    case BinaryOp::kFloorDiv:
      if (b == 0) FailZero();
      if (a == INT64_MIN && b == -1) FailOverflow(op);
      return Value::Int(a / b - (a % b != 0 && (a < 0) != (b < 0)));
    case BinaryOp::kMod:
      if (b == 0) FailZero();
      if (b == -1) return Value::Int(0);
      out = a % b;
      return Value::Int(out != 0 && (out < 0) != (b < 0) ? out + b : out);
    case BinaryOp::kPow:
      if (b >= 0) return Value::Int(IntPower(a, b));
      if (a == 0) FailZero();
      return Value::Float(std::pow(static_cast<double>(a), static_cast<double>(b)));
  }
  if (overflow) FailOverflow(op);
  return Value::Int(out);
}

double FloorMod(double a, double b) {
  const double rest = std::fmod(a, b);
  if (rest == 0.0) return std::copysign(0.0, b);
  return (rest < 0) != (b < 0) ? rest + b : rest;
}

Value FloatArithmetic(BinaryOp op, double a, double b) {
  switch (op) {
    case BinaryOp::kAdd: return Value::Float(a + b);
    case BinaryOp::kSub: return Value::Float(a - b);
    case BinaryOp::kMul: return Value::Float(a * b);
    case BinaryOp::kDiv:
      if (b == 0) FailZero();
      return Value::Float(a / b);
    case BinaryOp::kFloorDiv:
      if (b == 0) FailZero();
      return Value::Float(std::floor((a - FloorMod(a, b)) / b + 0.5));
    case BinaryOp::kMod:
      if (b == 0) FailZero();
      return Value::Float(FloorMod(a, b));
    case BinaryOp::kPow: {
      if (a == 0 && b < 0) FailZero();
      const double out = std::pow(a, b);
      if (std::isnan(out) && !std::isnan(a) && !std::isnan(b)) {
        throw Failure{"complex results of '**' are not supported"};
      }
      return Value::Float(out);
    }
  }
  return {};
}

Value Concatenate(Runtime& runtime, const Value& a, const Value& b) {
  if (a.is_string() && b.is_string()) {
    TextBuilder out(runtime.heap);
    out.Append(a.text());
    out.Append(b.text());
    return out.TakeString();
  }
  const Kind kind = a.kind();
  if (kind != b.kind() || (kind != Kind::kList && kind != Kind::kTuple)) FailOperands("+", a, b);
  const auto& left = a.list().items;
  const auto& right = b.list().items;
  runtime.heap.Step(left.size() + right.size());
  runtime.heap.CheckRoom((left.size() + right.size()) * sizeof(Value));
  std::vector<Value> items(left);
  items.insert(items.end(), right.begin(), right.end());
  return runtime.heap.MakeList(std::move(items), kind);
}

// Whether `n` copies of `bytes` fit; checked before anything is allocated.
void CheckRepeat(Heap& heap, size_t bytes, int64_t n) {
  size_t total = 0;
  if (__builtin_mul_overflow(bytes, static_cast<size_t>(n), &total)) total = SIZE_MAX;
  heap.CheckRoom(total);
}

Value Repeat(Runtime& runtime, const Value& value, int64_t n) {
  n = std::max<int64_t>(n, 0);
  if (value.is_string()) {
    TextBuilder out(runtime.heap);
    CheckRepeat(runtime.heap, value.text().footprint(), n);
    if (value.text().empty()) n = 0;
    for (int64_t i = 0; i < n; ++i) {
      runtime.heap.Step();
      out.Append(value.text());
    }
    return out.TakeString();
  }
  const auto& source = value.list().items;
  CheckRepeat(runtime.heap, source.size() * sizeof(Value), n);
  std::vector<Value> items;
  if (source.empty()) n = 0;
  runtime.heap.Step(source.size() * static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) items.insert(items.end(), source.begin(), source.end());
  return runtime.heap.MakeList(std::move(items), value.kind());
}

bool IsRepeatable(const Value& value) {
  return value.is_string() || value.kind() == Kind::kList || value.kind() == Kind::kTuple;
}

bool EqualLists(Heap& heap, const List& a, const List& b) {
  if (a.items.size() != b.items.size()) return false;
  for (size_t i = 0; i < a.items.size(); ++i) {
    if (!Equal(heap, a.items[i], b.items[i])) return false;
  }
  return true;
}

bool EqualDicts(Heap& heap, const Dict& a, const Dict& b) {
  if (a.size() != b.size()) return false;
  for (const auto& [key, value] : a.entries()) {
    const Value* other = b.Find(key);
    if (other == nullptr || !Equal(heap, value, *other)) return false;
  }
  return true;
}

// Sign of a - b; 2 when they are not comparable by size (a NaN).
int Order(Heap& heap, CompareOp op, const Value& a, const Value& b) {
  heap.Step();
  const Heap::Level guard(heap);
  if (a.is_undefined()) FailUndefined(a);
  if (b.is_undefined()) FailUndefined(b);
  if (a.is_integral() && b.is_integral()) {
    return (a.int_value() > b.int_value()) - (a.int_value() < b.int_value());
  }
  if (a.is_number() && b.is_number()) {
    const double x = a.float_value(), y = b.float_value();
    return std::isnan(x) || std::isnan(y) ? 2 : (x > y) - (x < y);
  }
  if (a.is_string() && b.is_string()) {
    heap.Step(std::min(a.text().size(), b.text().size()) / 64);
    const int order = a.str().compare(b.str());
    return (order > 0) - (order < 0);
  }
  const Kind kind = a.kind();
  if (kind != b.kind() || (kind != Kind::kList && kind != Kind::kTuple)) {
    constexpr std::string_view kSymbols[] = {"==", "!=", "<", "<=", ">", ">="};
    throw Failure{fmt::format("'{}' not supported between instances of '{}' and '{}'",
                              kSymbols[static_cast<int>(op)], TypeName(a), TypeName(b))};
  }
  const auto& x = a.list().items;
  const auto& y = b.list().items;
  for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
    if (!Equal(heap, x[i], y[i])) return Order(heap, op, x[i], y[i]);
  }
  return (x.size() > y.size()) - (x.size() < y.size());
}

bool Contains(Heap& heap, const Value& container, const Value& item) {
  switch (container.kind()) {
    case Kind::kUndefined: return false;
    case Kind::kString:
      if (!item.is_string()) {
        throw Failure{
            fmt::format("'in <string>' requires string as left operand, not {}", TypeName(item))};
      }
      heap.Step(container.text().size() / 64);
      return container.str().find(item.str()) != std::string::npos;
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kGenerator: {
      const std::vector<Value> items = Iterate(heap, container);
      return std::any_of(items.begin(), items.end(),
                         [&](const Value& other) { return Equal(heap, other, item); });
    }
    case Kind::kDict:
      if (!IsHashable(item)) {
        throw Failure{fmt::format("unhashable type: '{}'", TypeName(item))};
      }
      return container.dict().Find(item) != nullptr;
    default: break;
  }
  throw Failure{fmt::format("argument of type '{}' is not iterable", TypeName(container))};
}

}  // namespace

std::string_view TypeName(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined: return "Undefined";
    case Kind::kNone: return "NoneType";
    case Kind::kBool: return "bool";
    case Kind::kInt: return "int";
    case Kind::kFloat: return "float";
    case Kind::kString: return "str";
    case Kind::kList: return "list";
    case Kind::kTuple: return "tuple";
    case Kind::kGenerator: return "generator";
    case Kind::kDict: return "dict";
    case Kind::kNamespace: return "Namespace";
    case Kind::kObject: return value.object().type_name();
  }
  return "?";
}

void FailUndefined(const Value& value) {
  const StringRef& why = value.why_undefined();
  throw Failure{why == nullptr ? "value is undefined" : why->text.bytes()};
}

bool Truth(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
    case Kind::kNone: return false;
    case Kind::kBool:
    case Kind::kInt: return value.int_value() != 0;
    case Kind::kFloat: return value.float_value() != 0;
    case Kind::kString: return !value.text().empty();
    case Kind::kList:
    case Kind::kTuple: return !value.list().items.empty();
    case Kind::kDict: return value.dict().size() != 0;
    default: return true;
  }
}

Value Arithmetic(Runtime& runtime, BinaryOp op, const Value& a, const Value& b) {
  if (op == BinaryOp::kMod && a.is_string()) {
    return runtime.heap.MakeString(PercentFormat(runtime, a.text(), b));
  }
  if (a.is_undefined()) FailUndefined(a);
  if (b.is_undefined()) FailUndefined(b);
  if (a.is_integral() && b.is_integral()) return IntArithmetic(op, a.int_value(), b.int_value());
  if (a.is_number() && b.is_number()) {
    return FloatArithmetic(op, a.float_value(), b.float_value());
  }
  if (op == BinaryOp::kAdd) return Concatenate(runtime, a, b);
  if (op == BinaryOp::kMul && IsRepeatable(a) && b.is_integral()) {
    return Repeat(runtime, a, b.int_value());
  }
  if (op == BinaryOp::kMul && IsRepeatable(b) && a.is_integral()) {
    return Repeat(runtime, b, a.int_value());
  }
  FailOperands(Symbol(op), a, b);
}

Value Negate(const Value& value) {
  if (value.is_undefined()) FailUndefined(value);
  if (value.is_float()) return Value::Float(-value.float_value());
  if (!value.is_integral()) {
    throw Failure{fmt::format("bad operand type for unary -: '{}'", TypeName(value))};
  }
  return IntArithmetic(BinaryOp::kSub, 0, value.int_value());
}

Value Posit(const Value& value) {
  if (value.is_undefined()) FailUndefined(value);
  if (!value.is_number()) {
    throw Failure{fmt::format("bad operand type for unary +: '{}'", TypeName(value))};
  }
  return value.is_float() ? value : Value::Int(value.int_value());
}

bool Equal(Heap& heap, const Value& a, const Value& b) {
  heap.Step();
  const Heap::Level guard(heap);
  if (a.is_integral() && b.is_integral()) return a.int_value() == b.int_value();
  if (a.is_number() && b.is_number()) return a.float_value() == b.float_value();
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::kString: heap.Step(a.text().size() / 64); return a.str() == b.str();
    case Kind::kList:
    case Kind::kTuple: return &a.list() == &b.list() || EqualLists(heap, a.list(), b.list());
    case Kind::kDict: return &a.dict() == &b.dict() || EqualDicts(heap, a.dict(), b.dict());
    case Kind::kGenerator: return &a.list() == &b.list();
    case Kind::kNamespace: return &a.dict() == &b.dict();
    case Kind::kObject: return &a.object() == &b.object();
    default: return true;
  }
}

bool Compare(Heap& heap, CompareOp op, const Value& a, const Value& b) {
  switch (op) {
    case CompareOp::kEq: return Equal(heap, a, b);
    case CompareOp::kNe: return !Equal(heap, a, b);
    case CompareOp::kIn: return Contains(heap, b, a);
    case CompareOp::kNotIn: return !Contains(heap, b, a);
    default: break;
  }
  const int order = Order(heap, op, a, b);
  if (order == 2) return false;
  switch (op) {
    case CompareOp::kLt: return order < 0;
    case CompareOp::kLe: return order <= 0;
    case CompareOp::kGt: return order > 0;
    default: return order >= 0;
  }
}

}  // namespace kvasir::jinja
