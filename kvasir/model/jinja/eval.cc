// Expressions.
#include <fmt/core.h>

#include "kvasir/model/jinja/interpreter.h"
#include "kvasir/model/jinja/print.h"

namespace kvasir::jinja {
namespace {

Value EvalOrNone(const ExprPtr& expr, Interpreter& in, Scope& scope) {
  return expr == nullptr ? Value::None() : expr->Eval(in, scope);
}

}  // namespace

Value CallValue(Runtime& runtime, const Value& function, Arguments arguments) {
  if (function.is_undefined()) FailUndefined(function);
  if (function.kind() != Kind::kObject) {
    throw Failure{fmt::format("'{}' object is not callable", TypeName(function))};
  }
  return function.object().Call(runtime, std::move(arguments));
}

Value Expr::Eval(Interpreter& in, Scope& scope) const {
  in.heap.Step();
  const Heap::Level level(in.heap);
  in.line = line;
  return DoEval(in, scope);
}

Arguments CallArgs::Eval(Interpreter& in, Scope& scope) const {
  Arguments out;
  for (const ExprPtr& arg : positional) out.positional.push_back(arg->Eval(in, scope));
  for (const auto& [name, arg] : named) out.named.emplace_back(name, arg->Eval(in, scope));
  return out;
}

Value LiteralExpr::DoEval(Interpreter&, Scope&) const { return value; }

Value NameExpr::DoEval(Interpreter& in, Scope& scope) const { return in.Lookup(scope, name); }

Value SequenceExpr::DoEval(Interpreter& in, Scope& scope) const {
  std::vector<Value> values;
  for (const ExprPtr& item : items) values.push_back(item->Eval(in, scope));
  return in.heap.MakeList(std::move(values), kind);
}

Value DictExpr::DoEval(Interpreter& in, Scope& scope) const {
  Dict* dict = in.heap.NewDict();
  for (const auto& [key, value] : items) {
    Value k = key->Eval(in, scope);
    dict->Set(in.heap, k, value->Eval(in, scope));
  }
  return Value::Of(dict);
}

Value UnaryExpr::DoEval(Interpreter& in, Scope& scope) const {
  const Value value = operand->Eval(in, scope);
  if (op == '!') return Value::Bool(!Truth(value));
  return op == '-' ? Negate(value) : Posit(value);
}

Value ArithmeticExpr::DoEval(Interpreter& in, Scope& scope) const {
  Value value = first->Eval(in, scope);
  for (const auto& [op, operand] : rest) {
    value = Arithmetic(in, op, value, operand->Eval(in, scope));
  }
  return value;
}

Value ConcatExpr::DoEval(Interpreter& in, Scope& scope) const {
  TextBuilder out(in.heap);
  for (const ExprPtr& item : items) AppendText(out, item->Eval(in, scope));
  return out.TakeString();
}

Value LogicExpr::DoEval(Interpreter& in, Scope& scope) const {
  Value value;
  for (const ExprPtr& item : items) {
    value = item->Eval(in, scope);
    if (Truth(value) == is_or) return value;
  }
  return value;
}

Value CompareExpr::DoEval(Interpreter& in, Scope& scope) const {
  Value left = first->Eval(in, scope);
  for (const auto& [op, operand] : rest) {
    Value right = operand->Eval(in, scope);
    if (!Compare(in.heap, op, left, right)) return Value::Bool(false);
    left = std::move(right);
  }
  return Value::Bool(true);
}

Value ConditionalExpr::DoEval(Interpreter& in, Scope& scope) const {
  if (Truth(test->Eval(in, scope))) return then->Eval(in, scope);
  if (otherwise != nullptr) return otherwise->Eval(in, scope);
  return MakeUndefined(in.heap, "the inline if-expression has no else and its test was false");
}

Value AttributeExpr::DoEval(Interpreter& in, Scope& scope) const {
  return GetAttribute(in, object->Eval(in, scope), name);
}

Value ItemExpr::DoEval(Interpreter& in, Scope& scope) const {
  const Value from = object->Eval(in, scope);
  return GetItem(in, from, key->Eval(in, scope));
}

Value SliceExpr::DoEval(Interpreter& in, Scope& scope) const {
  const Value from = object->Eval(in, scope);
  const Value begin = EvalOrNone(start, in, scope);
  const Value end = EvalOrNone(stop, in, scope);
  return GetSlice(in, from, begin, end, EvalOrNone(step, in, scope));
}

Value CallExpr::DoEval(Interpreter& in, Scope& scope) const {
  const Value function = callee->Eval(in, scope);
  Arguments arguments = args.Eval(in, scope);
  in.line = line;
  return CallValue(in, function, std::move(arguments));
}

Value FilterExpr::DoEval(Interpreter& in, Scope& scope) const {
  return Apply(in, scope, input->Eval(in, scope));
}

Value FilterExpr::Apply(Interpreter& in, Scope& scope, Value value) const {
  Arguments arguments = args.Eval(in, scope);
  arguments.positional.insert(arguments.positional.begin(), std::move(value));
  in.line = line;
  return ApplyFilter(in, name, std::move(arguments));
}

Value TestExpr::DoEval(Interpreter& in, Scope& scope) const {
  Value value = input->Eval(in, scope);
  Arguments arguments = args.Eval(in, scope);
  arguments.positional.insert(arguments.positional.begin(), std::move(value));
  in.line = line;
  return Value::Bool(ApplyTest(in, name, std::move(arguments)) != negated);
}

}  // namespace kvasir::jinja
