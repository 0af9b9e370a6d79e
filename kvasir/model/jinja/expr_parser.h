// Tokens to expressions: the grammar between {{ and }}, and inside block tags.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "kvasir/model/jinja/ast.h"
#include "kvasir/model/jinja/lexer.h"

namespace kvasir::jinja {

// A cursor over tokens, and the nesting that parsing has reached.
class TokenStream {
 public:
  explicit TokenStream(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}
  const Token& Peek(size_t ahead = 0) const {
    return tokens_[std::min(at_ + ahead, tokens_.size() - 1)];
  }
  const Token& Next() {
    const Token& token = Peek();
    if (at_ + 1 < tokens_.size()) ++at_;
    return token;
  }
  int line() const { return Peek().line; }
  bool Is(TokenType type, std::string_view text, size_t ahead = 0) const {
    return Peek(ahead).type == type && Peek(ahead).text == text;
  }
  bool IsOp(std::string_view op) const { return Is(TokenType::kOperator, op); }
  bool IsName(std::string_view name) const { return Is(TokenType::kName, name); }
  bool AcceptOp(std::string_view op) { return IsOp(op) && (Next(), true); }
  bool AcceptName(std::string_view name) { return IsName(name) && (Next(), true); }
  void ExpectOp(std::string_view op);
  void ExpectName(std::string_view name);
  void ExpectType(TokenType type, std::string_view description);
  std::string TakeName(std::string_view description);
  // "unexpected 'x', expected ..." at the current token.
  [[noreturn]] void FailExpected(std::string_view wanted) const;
  [[noreturn]] void Fail(std::string message) const;

  // One level of nesting; throws Failure past kMaxNesting, so that no source exhausts the stack:
  // here and in Limits::max_depth 4 MiB suffice even for the frames of a sanitized build.
  static constexpr int kMaxNesting = 100;
  class Level {
   public:
    explicit Level(TokenStream& stream) : stream_(stream) {
      if (++stream_.depth_ > kMaxNesting) stream_.Fail("nested too deeply");
    }
    ~Level() { --stream_.depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    TokenStream& stream_;
  };

 private:
  std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0;
};

class ExprParser {
 public:
  explicit ExprParser(TokenStream& tokens) : tokens_(tokens) {}

  ExprPtr Expression();  // with `x if y else z`
  ExprPtr WithoutConditional();
  // One expression, or several separated by commas as a tuple. `conditional` as Expression;
  // `end_name` is a word that ends the list.
  ExprPtr Tuple(bool conditional = true, std::string_view end_name = {});
  // `|a|b(c)` applied to `input`, which may be null; with `first`, the leading '|' is left out.
  ExprPtr Filters(ExprPtr input, bool first);
  CallArgs CallArguments();  // from the opening parenthesis on

  // Whether these special names were read since the last Reset.
  struct Uses {
    bool varargs = false, kwargs = false, caller = false;
  };
  Uses uses;

 private:
  ExprPtr Or();
  ExprPtr And();
  ExprPtr Not();
  ExprPtr Comparison();
  ExprPtr Sum();
  ExprPtr Concat();
  ExprPtr Product();
  ExprPtr Power();
  ExprPtr Unary(bool with_filters);
  ExprPtr Primary();
  ExprPtr Name();
  ExprPtr Strings();
  ExprPtr Integer();
  ExprPtr Float();
  ExprPtr ListDisplay();
  ExprPtr DictDisplay();
  ExprPtr Parenthesized();
  ExprPtr Postfix(ExprPtr object);
  ExprPtr Attribute(ExprPtr object);
  ExprPtr Subscript(ExprPtr object);
  ExprPtr Slice(ExprPtr object, ExprPtr start, int line);
  ExprPtr FiltersAndTests(ExprPtr input);
  ExprPtr Filter(ExprPtr input);
  ExprPtr Test(ExprPtr input);
  ExprPtr Call(ExprPtr callee);
  std::string DottedName();
  bool StartsTestArgument() const;
  template <typename ParseOperand, typename FindOp>
  ExprPtr Chain(const ParseOperand& operand, const FindOp& find_op);
  template <typename Node>
  std::unique_ptr<Node> Make(int line) const {
    return std::make_unique<Node>(line);
  }
  // Makes `child` a child of `node` as far as the height of the tree goes.
  void Count(Expr& node, const ExprPtr& child) const;
  void Count(Expr& node, const CallArgs& args) const;

  TokenStream& tokens_;
};

}  // namespace kvasir::jinja
