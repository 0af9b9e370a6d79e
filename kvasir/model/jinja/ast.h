// The parsed template. Expressions evaluate themselves, statements execute themselves (eval.cc,
// exec.cc); trees are immutable and shared by renderings.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kvasir/model/jinja/ops.h"
#include "kvasir/model/jinja/value.h"

namespace kvasir::jinja {

class Interpreter;
class Scope;

struct Expr {
  explicit Expr(int at_line) : line(at_line) {}
  virtual ~Expr() = default;
  // Counts the step and the level, then evaluates.
  Value Eval(Interpreter& in, Scope& scope) const;
  const int line;
  int height = 1;  // of the tree; the parser bounds it

 protected:
  virtual Value DoEval(Interpreter& in, Scope& scope) const = 0;
};
using ExprPtr = std::unique_ptr<Expr>;

struct CallArgs {
  std::vector<ExprPtr> positional;
  std::vector<std::pair<std::string, ExprPtr>> named;
  Arguments Eval(Interpreter& in, Scope& scope) const;
};

struct LiteralExpr : Expr {
  LiteralExpr(int l, Value v) : Expr(l), value(std::move(v)) {}
  Value DoEval(Interpreter& in, Scope& scope) const override;
  Value value;
};
struct NameExpr : Expr {
  NameExpr(int l, std::string n) : Expr(l), name(std::move(n)) {}
  Value DoEval(Interpreter& in, Scope& scope) const override;
  std::string name;
};
struct SequenceExpr : Expr {  // list or tuple
  using Expr::Expr;
  Value DoEval(Interpreter& in, Scope& scope) const override;
  Kind kind = Kind::kList;
  std::vector<ExprPtr> items;
};
struct DictExpr : Expr {
  using Expr::Expr;
  Value DoEval(Interpreter& in, Scope& scope) const override;
  std::vector<std::pair<ExprPtr, ExprPtr>> items;
};
struct UnaryExpr : Expr {
  UnaryExpr(int l, char o, ExprPtr e) : Expr(l), op(o), operand(std::move(e)) {}
  Value DoEval(Interpreter& in, Scope& scope) const override;
  char op;  // '-', '+', '!'
  ExprPtr operand;
};
// Operators of one precedence, left to right; a chain costs one level however long it is.
struct ArithmeticExpr : Expr {
  using Expr::Expr;
  Value DoEval(Interpreter& in, Scope& scope) const override;
  ExprPtr first;
  std::vector<std::pair<BinaryOp, ExprPtr>> rest;
};
struct ConcatExpr : Expr {
  using Expr::Expr;
  Value DoEval(Interpreter& in, Scope& scope) const override;
  std::vector<ExprPtr> items;
};
struct LogicExpr : Expr {  // gives the deciding operand, as Python does
  using Expr::Expr;
  Value DoEval(Interpreter& in, Scope& scope) const override;
  bool is_or = false;
  std::vector<ExprPtr> items;
};
struct CompareExpr : Expr {
  using Expr::Expr;
  Value DoEval(Interpreter& in, Scope& scope) const override;
  ExprPtr first;
  std::vector<std::pair<CompareOp, ExprPtr>> rest;
};
struct ConditionalExpr : Expr {
  using Expr::Expr;
  Value DoEval(Interpreter& in, Scope& scope) const override;
  ExprPtr test, then, otherwise;  // otherwise may be null
};
struct AttributeExpr : Expr {
  using Expr::Expr;
  Value DoEval(Interpreter& in, Scope& scope) const override;
  ExprPtr object;
  std::string name;
};
struct ItemExpr : Expr {
  using Expr::Expr;
  Value DoEval(Interpreter& in, Scope& scope) const override;
  ExprPtr object, key;
};
struct SliceExpr : Expr {
  using Expr::Expr;
  Value DoEval(Interpreter& in, Scope& scope) const override;
  ExprPtr object, start, stop, step;  // the bounds may be null
};
struct CallExpr : Expr {
  using Expr::Expr;
  Value DoEval(Interpreter& in, Scope& scope) const override;
  ExprPtr callee;
  CallArgs args;
};
struct FilterExpr : Expr {
  using Expr::Expr;
  Value DoEval(Interpreter& in, Scope& scope) const override;
  Value Apply(Interpreter& in, Scope& scope, Value input) const;
  ExprPtr input;  // null for the first filter of a filter block or block set
  std::string name;
  CallArgs args;
};
struct TestExpr : Expr {
  using Expr::Expr;
  Value DoEval(Interpreter& in, Scope& scope) const override;
  ExprPtr input;
  std::string name;
  bool negated = false;
  CallArgs args;
};

// --- statements
// -----------------------------------------------------------------------------------

enum class Flow { kNext, kBreak, kContinue };

struct Stmt {
  explicit Stmt(int at_line) : line(at_line) {}
  virtual ~Stmt() = default;
  virtual Flow Exec(Interpreter& in, Scope& scope) const = 0;
  const int line;
};
using StmtPtr = std::unique_ptr<Stmt>;

struct Body {
  std::vector<StmtPtr> statements;
  Flow Exec(Interpreter& in, Scope& scope) const;
};

// A name, `namespace.attribute`, or a tuple of targets.
struct Target {
  std::string name;
  std::string attribute;
  std::vector<Target> items;  // with items, name is empty
  int line = 0;
  void Assign(Interpreter& in, Scope& scope, const Value& value) const;
};

struct DataStmt : Stmt {
  DataStmt(int l, std::string t) : Stmt(l), text(std::move(t)) {}
  Flow Exec(Interpreter& in, Scope& scope) const override;
  std::string text;
};
struct EmitStmt : Stmt {
  EmitStmt(int l, ExprPtr e) : Stmt(l), expr(std::move(e)) {}
  Flow Exec(Interpreter& in, Scope& scope) const override;
  ExprPtr expr;
};
struct IfStmt : Stmt {
  using Stmt::Stmt;
  Flow Exec(Interpreter& in, Scope& scope) const override;
  std::vector<std::pair<ExprPtr, Body>> branches;
  Body otherwise;
};
struct ForStmt : Stmt {
  using Stmt::Stmt;
  Flow Exec(Interpreter& in, Scope& scope) const override;
  // One run over `items`; `depth` counts recursive calls from 1.
  Flow Run(Interpreter& in, Scope& scope, std::vector<Value> items, int depth) const;
  Target target;
  ExprPtr iterable, test;  // test may be null
  Body body, otherwise;
  bool recursive = false;
  bool has_macro = false;  // a macro or call block within may keep an iteration's scope
};
struct SetStmt : Stmt {
  using Stmt::Stmt;
  Flow Exec(Interpreter& in, Scope& scope) const override;
  Target target;
  ExprPtr value;
};
struct SetBlockStmt : Stmt {
  using Stmt::Stmt;
  Flow Exec(Interpreter& in, Scope& scope) const override;
  Target target;
  ExprPtr filter;  // chain of FilterExpr whose innermost input is null; may be null
  Body body;
};
struct FilterBlockStmt : Stmt {
  using Stmt::Stmt;
  Flow Exec(Interpreter& in, Scope& scope) const override;
  ExprPtr filter;
  Body body;
};
struct MacroSpec {
  std::string name;
  std::vector<std::pair<std::string, ExprPtr>> params;  // default may be null
  bool takes_varargs = false, takes_kwargs = false, takes_caller = false;
  Body body;
};
struct MacroStmt : Stmt {
  using Stmt::Stmt;
  Flow Exec(Interpreter& in, Scope& scope) const override;
  MacroSpec macro;
};
struct CallBlockStmt : Stmt {
  using Stmt::Stmt;
  Flow Exec(Interpreter& in, Scope& scope) const override;
  ExprPtr callee;
  CallArgs args;
  MacroSpec caller;
};
struct WithStmt : Stmt {
  using Stmt::Stmt;
  Flow Exec(Interpreter& in, Scope& scope) const override;
  std::vector<std::pair<Target, ExprPtr>> bindings;
  Body body;
};
struct GenerationStmt : Stmt {  // marks what a model wrote, renders as its body
  using Stmt::Stmt;
  Flow Exec(Interpreter& in, Scope& scope) const override;
  Body body;
};
struct JumpStmt : Stmt {
  JumpStmt(int l, Flow f) : Stmt(l), flow(f) {}
  Flow Exec(Interpreter& in, Scope& scope) const override;
  Flow flow;
};

}  // namespace kvasir::jinja
