// Statements, but for the loop.
#include <fmt/core.h>

#include "kvasir/model/jinja/interpreter.h"
#include "kvasir/model/jinja/print.h"

namespace kvasir::jinja {
namespace {

// Applies a chain of filters whose innermost input is missing.
Value ApplyChain(const Expr* filter, Interpreter& in, Scope& scope, Value value) {
  if (filter == nullptr) return value;
  const auto& node = static_cast<const FilterExpr&>(*filter);
  return node.Apply(in, scope, ApplyChain(node.input.get(), in, scope, std::move(value)));
}

}  // namespace

Flow Body::Exec(Interpreter& in, Scope& scope) const {
  const Heap::Level level(in.heap);
  for (const StmtPtr& statement : statements) {
    in.heap.Step();
    if (const Flow flow = statement->Exec(in, scope); flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

void Target::Assign(Interpreter& in, Scope& scope, const Value& value) const {
  if (!items.empty()) {
    const std::vector<Value> parts = Iterate(in.heap, value);
    if (parts.size() != items.size()) {
      throw Failure{
          fmt::format("cannot unpack {} values into {} names", parts.size(), items.size())};
    }
    for (size_t i = 0; i < items.size(); ++i) items[i].Assign(in, scope, parts[i]);
    return;
  }
  if (attribute.empty()) return scope.Set(in.heap, name, value);
  const Value holder = in.Lookup(scope, name);
  if (holder.kind() != Kind::kNamespace) {
    throw Failure{
        fmt::format("cannot assign to '{}.{}': '{}' is no namespace", name, attribute, name)};
  }
  holder.dict().Set(in.heap, in.heap.MakeString(attribute), value);
}

Flow DataStmt::Exec(Interpreter& in, Scope&) const {
  in.out().Append(text);
  return Flow::kNext;
}

Flow EmitStmt::Exec(Interpreter& in, Scope& scope) const {
  AppendText(in.out(), expr->Eval(in, scope));
  return Flow::kNext;
}

Flow IfStmt::Exec(Interpreter& in, Scope& scope) const {
  for (const auto& [test, body] : branches) {
    if (Truth(test->Eval(in, scope))) return body.Exec(in, scope);
  }
  return otherwise.Exec(in, scope);
}

Flow SetStmt::Exec(Interpreter& in, Scope& scope) const {
  target.Assign(in, scope, value->Eval(in, scope));
  return Flow::kNext;
}

Flow SetBlockStmt::Exec(Interpreter& in, Scope& scope) const {
  Flow flow = Flow::kNext;
  Scope& inner = in.NewScope(scope);
  Value text = in.heap.MakeString(in.Capture([&] { flow = body.Exec(in, inner); }));
  target.Assign(in, scope, ApplyChain(filter.get(), in, scope, std::move(text)));
  return flow;
}

Flow FilterBlockStmt::Exec(Interpreter& in, Scope& scope) const {
  Flow flow = Flow::kNext;
  Scope& inner = in.NewScope(scope);
  Value text = in.heap.MakeString(in.Capture([&] { flow = body.Exec(in, inner); }));
  AppendText(in.out(), ApplyChain(filter.get(), in, inner, std::move(text)));
  return flow;
}

Flow MacroStmt::Exec(Interpreter& in, Scope& scope) const {
  scope.Set(in.heap, macro.name, Value::Of(in.heap.New<MacroObject>(in, macro, scope)));
  return Flow::kNext;
}

Flow CallBlockStmt::Exec(Interpreter& in, Scope& scope) const {
  const Value function = callee->Eval(in, scope);
  Arguments arguments = args.Eval(in, scope);
  arguments.named.emplace_back("caller",
                               Value::Of(in.heap.New<MacroObject>(in, caller, in.NewScope(scope))));
  in.line = line;
  AppendText(in.out(), CallValue(in, function, std::move(arguments)));
  return Flow::kNext;
}

Flow WithStmt::Exec(Interpreter& in, Scope& scope) const {
  Scope& inner = in.NewScope(scope);
  for (const auto& [target, value] : bindings) {
    target.Assign(in, inner, value->Eval(in, scope));
  }
  return body.Exec(in, inner);
}

Flow GenerationStmt::Exec(Interpreter& in, Scope& scope) const { return body.Exec(in, scope); }

Flow JumpStmt::Exec(Interpreter&, Scope&) const { return flow; }

}  // namespace kvasir::jinja
