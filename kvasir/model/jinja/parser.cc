#include "kvasir/model/jinja/parser.h"

#include <fmt/core.h>

#include <algorithm>
#include <initializer_list>

#include "kvasir/model/jinja/expr_parser.h"

namespace kvasir::jinja {
namespace {

using EndNames = std::initializer_list<std::string_view>;

class Parser {
 public:
  explicit Parser(std::string_view source) : tokens_(Tokenize(source)), exprs_(tokens_) {}

  Body Template() {
    Body body = Statements({});
    if (tokens_.Peek().type != TokenType::kEnd) tokens_.FailExpected("the end of the template");
    return body;
  }

 private:
  // Statements up to a block tag named in `ends`; leaves the stream at that name.
  Body Statements(EndNames ends) {
    const TokenStream::Level level(tokens_);
    Body body;
    while (true) {
      const int line = tokens_.line();
      switch (tokens_.Peek().type) {
        case TokenType::kData:
          body.statements.push_back(std::make_unique<DataStmt>(line, tokens_.Next().text));
          break;
        case TokenType::kVariableBegin:
          tokens_.Next();
          body.statements.push_back(std::make_unique<EmitStmt>(line, exprs_.Tuple()));
          tokens_.ExpectType(TokenType::kVariableEnd, "'}}'");
          break;
        case TokenType::kBlockBegin:
          tokens_.Next();
          if (tokens_.Peek().type != TokenType::kName) tokens_.FailExpected("the name of a tag");
          if (std::find(ends.begin(), ends.end(), tokens_.Peek().text) != ends.end()) return body;
          body.statements.push_back(Statement());
          tokens_.ExpectType(TokenType::kBlockEnd, "'%}'");
          break;
        default:
          if (ends.size() != 0) {
            tokens_.FailExpected(fmt::format("the tag '{}'", *(ends.end() - 1)));
          }
          return body;
      }
    }
  }

  // The rest of a tag, then statements up to `end`, whose name is taken.
  Body Block(std::string_view end) {
    tokens_.ExpectType(TokenType::kBlockEnd, "'%}'");
    Body body = Statements({end});
    tokens_.Next();
    return body;
  }

  StmtPtr Statement() {
    const int line = tokens_.line();
    const std::string name = tokens_.Next().text;
    if (name == "for") return For(line);
    if (name == "if") return If(line);
    if (name == "set") return Set(line);
    if (name == "macro") return Macro(line);
    if (name == "call") return CallBlock(line);
    if (name == "filter") return FilterBlock(line);
    if (name == "with") return With(line);
    if (name == "generation") return Generation(line);
    if (name == "break" || name == "continue") return Jump(line, name);
    throw Failure{fmt::format("unknown tag '{}'", name.substr(0, 40)), StatusCode::kUnsupported,
                  line};
  }

  Target TargetName(bool with_attribute) {
    Target target;
    target.line = tokens_.line();
    if (tokens_.AcceptOp("(")) {
      target = TargetTuple(with_attribute);
      tokens_.ExpectOp(")");
      return target;
    }
    target.name = tokens_.TakeName("a name to assign to");
    for (const std::string_view reserved : {"true", "false", "none", "True", "False", "None"}) {
      if (target.name == reserved) tokens_.Fail(fmt::format("cannot assign to '{}'", reserved));
    }
    if (with_attribute && tokens_.AcceptOp(".")) target.attribute = tokens_.TakeName("a name");
    return target;
  }

  Target TargetTuple(bool with_attribute) {
    const TokenStream::Level level(tokens_);
    Target first = TargetName(with_attribute);
    if (!tokens_.IsOp(",")) return first;
    Target tuple;
    tuple.line = first.line;
    tuple.items.push_back(std::move(first));
    while (tokens_.AcceptOp(",")) {
      if (tokens_.Peek().type != TokenType::kName && !tokens_.IsOp("(")) break;
      tuple.items.push_back(TargetName(with_attribute));
    }
    return tuple;
  }

  StmtPtr For(int line) {
    auto node = std::make_unique<ForStmt>(line);
    node->target = TargetTuple(false);
    tokens_.ExpectName("in");
    node->iterable = exprs_.Tuple(false, "recursive");
    if (tokens_.AcceptName("if")) node->test = exprs_.Expression();
    node->recursive = tokens_.AcceptName("recursive");
    tokens_.ExpectType(TokenType::kBlockEnd, "'%}'");
    ++n_loop_;
    const int n_macro = n_macro_;
    node->body = Statements({"else", "endfor"});
    node->has_macro = n_macro_ != n_macro;
    --n_loop_;
    if (tokens_.Next().text == "else") node->otherwise = Block("endfor");
    return node;
  }

  StmtPtr If(int line) {
    auto node = std::make_unique<IfStmt>(line);
    while (true) {
      ExprPtr test = exprs_.Tuple(false);
      tokens_.ExpectType(TokenType::kBlockEnd, "'%}'");
      Body body = Statements({"elif", "else", "endif"});
      node->branches.emplace_back(std::move(test), std::move(body));
      const std::string& word = tokens_.Next().text;
      if (word == "elif") continue;
      if (word == "else") node->otherwise = Block("endif");
      return node;
    }
  }

  StmtPtr Set(int line) {
    Target target = TargetTuple(true);
    if (tokens_.AcceptOp("=")) {
      auto node = std::make_unique<SetStmt>(line);
      node->target = std::move(target);
      node->value = exprs_.Tuple();
      return node;
    }
    auto node = std::make_unique<SetBlockStmt>(line);
    node->target = std::move(target);
    node->filter = exprs_.Filters(nullptr, false);
    node->body = Block("endset");
    return node;
  }

  // Parameters in parentheses into `macro`.
  void Parameters(MacroSpec& macro) {
    tokens_.ExpectOp("(");
    while (!tokens_.IsOp(")")) {
      std::string name = tokens_.TakeName("the name of a parameter");
      ExprPtr fallback;
      if (tokens_.AcceptOp("=")) {
        fallback = exprs_.Expression();
      } else if (!macro.params.empty() && macro.params.back().second != nullptr) {
        tokens_.Fail("parameter without a default after one with a default");
      }
      macro.params.emplace_back(std::move(name), std::move(fallback));
      if (!tokens_.AcceptOp(",")) break;
    }
    tokens_.ExpectOp(")");
  }

  void MacroBody(MacroSpec& macro, std::string_view end) {
    ++n_macro_;
    const ExprParser::Uses outer = std::exchange(exprs_.uses, {});
    const int n_loop = std::exchange(n_loop_, 0);
    macro.body = Block(end);
    n_loop_ = n_loop;
    macro.takes_varargs = exprs_.uses.varargs;
    macro.takes_kwargs = exprs_.uses.kwargs;
    macro.takes_caller = exprs_.uses.caller;
    exprs_.uses = outer;
  }

  StmtPtr Macro(int line) {
    auto node = std::make_unique<MacroStmt>(line);
    node->macro.name = tokens_.TakeName("the name of the macro");
    Parameters(node->macro);
    MacroBody(node->macro, "endmacro");
    return node;
  }

  StmtPtr CallBlock(int line) {
    auto node = std::make_unique<CallBlockStmt>(line);
    node->caller.name = "caller";
    if (tokens_.IsOp("(")) Parameters(node->caller);
    ExprPtr call = exprs_.Expression();
    auto* expr = dynamic_cast<CallExpr*>(call.get());
    if (expr == nullptr) tokens_.Fail("the 'call' tag needs a call of a macro");
    node->callee = std::move(expr->callee);
    node->args = std::move(expr->args);
    MacroBody(node->caller, "endcall");
    return node;
  }

  StmtPtr FilterBlock(int line) {
    auto node = std::make_unique<FilterBlockStmt>(line);
    node->filter = exprs_.Filters(nullptr, true);
    node->body = Block("endfilter");
    return node;
  }

  StmtPtr With(int line) {
    auto node = std::make_unique<WithStmt>(line);
    while (tokens_.Peek().type != TokenType::kBlockEnd) {
      if (!node->bindings.empty()) tokens_.ExpectOp(",");
      Target target = TargetName(false);
      tokens_.ExpectOp("=");
      node->bindings.emplace_back(std::move(target), exprs_.Expression());
    }
    node->body = Block("endwith");
    return node;
  }

  StmtPtr Generation(int line) {
    auto node = std::make_unique<GenerationStmt>(line);
    node->body = Block("endgeneration");
    return node;
  }

  StmtPtr Jump(int line, const std::string& name) {
    if (n_loop_ == 0) {
      throw Failure{fmt::format("'{}' outside of a loop", name), StatusCode::kInvalidArgument,
                    line};
    }
    return std::make_unique<JumpStmt>(line, name == "break" ? Flow::kBreak : Flow::kContinue);
  }

  TokenStream tokens_;
  ExprParser exprs_;
  int n_macro_ = 0;  // macros and call blocks read so far
  int n_loop_ = 0;   // loops around the current statement, within its macro
};

}  // namespace

Body ParseTemplate(std::string_view source) { return Parser(source).Template(); }

}  // namespace kvasir::jinja
