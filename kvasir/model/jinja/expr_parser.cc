#include "kvasir/model/jinja/expr_parser.h"

#include <fmt/core.h>

#include <charconv>
#include <cstdlib>
#include <optional>

namespace kvasir::jinja {
namespace {

std::string DescribeToken(const Token& token) {
  switch (token.type) {
    case TokenType::kData: return "text";
    case TokenType::kBlockBegin: return "'{%'";
    case TokenType::kBlockEnd: return "'%}'";
    case TokenType::kVariableBegin: return "'{{'";
    case TokenType::kVariableEnd: return "'}}'";
    case TokenType::kEnd: return "end of template";
    default: return fmt::format("'{}'", token.text.substr(0, 40));
  }
}

}  // namespace

void TokenStream::Fail(std::string message) const {
  throw Failure{std::move(message), StatusCode::kInvalidArgument, line()};
}

void TokenStream::FailExpected(std::string_view wanted) const {
  Fail(fmt::format("unexpected {}, expected {}", DescribeToken(Peek()), wanted));
}

void TokenStream::ExpectOp(std::string_view op) {
  if (!AcceptOp(op)) FailExpected(fmt::format("'{}'", op));
}

void TokenStream::ExpectName(std::string_view name) {
  if (!AcceptName(name)) FailExpected(fmt::format("'{}'", name));
}

void TokenStream::ExpectType(TokenType type, std::string_view description) {
  if (Peek().type != type) FailExpected(description);
  Next();
}

std::string TokenStream::TakeName(std::string_view description) {
  if (Peek().type != TokenType::kName) FailExpected(description);
  return Next().text;
}

void ExprParser::Count(Expr& node, const ExprPtr& child) const {
  if (child == nullptr) return;
  node.height = std::max(node.height, child->height + 1);
  if (node.height > TokenStream::kMaxNesting) tokens_.Fail("nested too deeply");
}

void ExprParser::Count(Expr& node, const CallArgs& args) const {
  for (const ExprPtr& arg : args.positional) Count(node, arg);
  for (const auto& [name, arg] : args.named) Count(node, arg);
}

ExprPtr ExprParser::Expression() {
  const TokenStream::Level level(tokens_);
  int line = tokens_.line();
  ExprPtr expr = Or();
  while (tokens_.AcceptName("if")) {
    auto node = Make<ConditionalExpr>(line);
    node->then = std::move(expr);
    node->test = Or();
    if (tokens_.AcceptName("else")) node->otherwise = Expression();
    Count(*node, node->then);
    Count(*node, node->test);
    Count(*node, node->otherwise);
    expr = std::move(node);
    line = tokens_.line();
  }
  return expr;
}

ExprPtr ExprParser::WithoutConditional() { return Or(); }

ExprPtr ExprParser::Tuple(bool conditional, std::string_view end_name) {
  const int line = tokens_.line();
  const auto at_end = [&] {
    const TokenType type = tokens_.Peek().type;
    return type == TokenType::kVariableEnd || type == TokenType::kBlockEnd || tokens_.IsOp(")") ||
           (!end_name.empty() && tokens_.IsName(end_name));
  };
  const auto item = [&] { return conditional ? Expression() : Or(); };
  ExprPtr first = item();
  if (!tokens_.IsOp(",")) return first;
  auto tuple = Make<SequenceExpr>(line);
  tuple->kind = Kind::kTuple;
  Count(*tuple, first);
  tuple->items.push_back(std::move(first));
  while (tokens_.AcceptOp(",")) {
    if (at_end()) break;
    tuple->items.push_back(item());
    Count(*tuple, tuple->items.back());
  }
  return tuple;
}

ExprPtr ExprParser::Or() {
  const int line = tokens_.line();
  ExprPtr first = And();
  if (!tokens_.IsName("or")) return first;
  auto node = Make<LogicExpr>(line);
  node->is_or = true;
  Count(*node, first);
  node->items.push_back(std::move(first));
  while (tokens_.AcceptName("or")) {
    node->items.push_back(And());
    Count(*node, node->items.back());
  }
  return node;
}

ExprPtr ExprParser::And() {
  const int line = tokens_.line();
  ExprPtr first = Not();
  if (!tokens_.IsName("and")) return first;
  auto node = Make<LogicExpr>(line);
  Count(*node, first);
  node->items.push_back(std::move(first));
  while (tokens_.AcceptName("and")) {
    node->items.push_back(Not());
    Count(*node, node->items.back());
  }
  return node;
}

ExprPtr ExprParser::Not() {
  const int line = tokens_.line();
  if (!tokens_.AcceptName("not")) return Comparison();
  const TokenStream::Level level(tokens_);
  auto node = std::make_unique<UnaryExpr>(line, '!', Not());
  Count(*node, node->operand);
  return node;
}

ExprPtr ExprParser::Comparison() {
  const int line = tokens_.line();
  const auto next_op = [this]() -> std::optional<CompareOp> {
    constexpr std::pair<std::string_view, CompareOp> kOps[] = {
        {"==", CompareOp::kEq}, {"!=", CompareOp::kNe}, {"<", CompareOp::kLt},
        {"<=", CompareOp::kLe}, {">", CompareOp::kGt},  {">=", CompareOp::kGe}};
    for (const auto& [symbol, op] : kOps) {
      if (tokens_.AcceptOp(symbol)) return op;
    }
    if (tokens_.AcceptName("in")) return CompareOp::kIn;
    if (tokens_.IsName("not") && tokens_.Is(TokenType::kName, "in", 1)) {
      tokens_.Next();
      tokens_.Next();
      return CompareOp::kNotIn;
    }
    return std::nullopt;
  };
  ExprPtr first = Sum();
  std::optional<CompareOp> op = next_op();
  if (!op) return first;
  auto node = Make<CompareExpr>(line);
  Count(*node, first);
  node->first = std::move(first);
  for (; op; op = next_op()) {
    node->rest.emplace_back(*op, Sum());
    Count(*node, node->rest.back().second);
  }
  return node;
}

template <typename ParseOperand, typename FindOp>
ExprPtr ExprParser::Chain(const ParseOperand& operand, const FindOp& find_op) {
  const int line = tokens_.line();
  ExprPtr first = operand();
  std::optional<BinaryOp> op = find_op();
  if (!op) return first;
  auto node = Make<ArithmeticExpr>(line);
  Count(*node, first);
  node->first = std::move(first);
  for (; op; op = find_op()) {
    node->rest.emplace_back(*op, operand());
    Count(*node, node->rest.back().second);
  }
  return node;
}

ExprPtr ExprParser::Sum() {
  return Chain([this] { return Concat(); },
               [this]() -> std::optional<BinaryOp> {
                 if (tokens_.AcceptOp("+")) return BinaryOp::kAdd;
                 if (tokens_.AcceptOp("-")) return BinaryOp::kSub;
                 return std::nullopt;
               });
}

ExprPtr ExprParser::Concat() {
  const int line = tokens_.line();
  ExprPtr first = Product();
  if (!tokens_.IsOp("~")) return first;
  auto node = Make<ConcatExpr>(line);
  Count(*node, first);
  node->items.push_back(std::move(first));
  while (tokens_.AcceptOp("~")) {
    node->items.push_back(Product());
    Count(*node, node->items.back());
  }
  return node;
}

ExprPtr ExprParser::Product() {
  return Chain([this] { return Power(); },
               [this]() -> std::optional<BinaryOp> {
                 if (tokens_.AcceptOp("*")) return BinaryOp::kMul;
                 if (tokens_.AcceptOp("/")) return BinaryOp::kDiv;
                 if (tokens_.AcceptOp("//")) return BinaryOp::kFloorDiv;
                 if (tokens_.AcceptOp("%")) return BinaryOp::kMod;
                 return std::nullopt;
               });
}

// Left to right, unlike Python: so Jinja defines it.
ExprPtr ExprParser::Power() {
  return Chain([this] { return Unary(true); },
               [this]() -> std::optional<BinaryOp> {
                 if (tokens_.AcceptOp("**")) return BinaryOp::kPow;
                 return std::nullopt;
               });
}

ExprPtr ExprParser::Unary(bool with_filters) {
  const int line = tokens_.line();
  ExprPtr expr;
  if (tokens_.IsOp("-") || tokens_.IsOp("+")) {
    const TokenStream::Level level(tokens_);
    const char op = tokens_.Next().text[0];
    auto node = std::make_unique<UnaryExpr>(line, op, Unary(false));
    Count(*node, node->operand);
    expr = std::move(node);
  } else {
    expr = Primary();
  }
  expr = Postfix(std::move(expr));
  return with_filters ? FiltersAndTests(std::move(expr)) : std::move(expr);
}

ExprPtr ExprParser::Primary() {
  switch (tokens_.Peek().type) {
    case TokenType::kName: return Name();
    case TokenType::kString: return Strings();
    case TokenType::kInteger: return Integer();
    case TokenType::kFloat: return Float();
    default: break;
  }
  if (tokens_.IsOp("(")) return Parenthesized();
  if (tokens_.IsOp("[")) return ListDisplay();
  if (tokens_.IsOp("{")) return DictDisplay();
  tokens_.FailExpected("an expression");
}

ExprPtr ExprParser::Name() {
  const Token& token = tokens_.Next();
  const std::string& name = token.text;
  const auto literal = [&](Value value) {
    return std::make_unique<LiteralExpr>(token.line, std::move(value));
  };
  if (name == "true" || name == "True") return literal(Value::Bool(true));
  if (name == "false" || name == "False") return literal(Value::Bool(false));
  if (name == "none" || name == "None") return literal(Value::None());
  uses.varargs |= name == "varargs";
  uses.kwargs |= name == "kwargs";
  uses.caller |= name == "caller";
  return std::make_unique<NameExpr>(token.line, name);
}

ExprPtr ExprParser::Strings() {
  const int line = tokens_.line();
  std::string text;
  while (tokens_.Peek().type == TokenType::kString) text += tokens_.Next().text;
  return std::make_unique<LiteralExpr>(line, Value::Literal(text));
}

ExprPtr ExprParser::Integer() {
  std::string_view digits = tokens_.Peek().text;
  int base = 10;
  if (digits.size() > 1 && digits[0] == '0') {
    const char kind = static_cast<char>(digits[1] | 0x20);
    base = kind == 'x' ? 16 : kind == 'o' ? 8 : kind == 'b' ? 2 : 10;
    if (base != 10) digits.remove_prefix(2);
  }
  int64_t value = 0;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (error != std::errc() || end != digits.data() + digits.size()) {
    tokens_.Fail(fmt::format("'{}' is no integer of 64 bits", tokens_.Peek().text.substr(0, 40)));
  }
  return std::make_unique<LiteralExpr>(tokens_.Next().line, Value::Int(value));
}

ExprPtr ExprParser::Float() {
  const Token& token = tokens_.Next();
  double value = 0;
  const char* begin = token.text.data();
  std::from_chars(begin, begin + token.text.size(), value);
  return std::make_unique<LiteralExpr>(token.line, Value::Float(value));
}

ExprPtr ExprParser::Parenthesized() {
  const int line = tokens_.line();
  tokens_.ExpectOp("(");
  if (tokens_.AcceptOp(")")) {
    auto empty = Make<SequenceExpr>(line);
    empty->kind = Kind::kTuple;
    return empty;
  }
  ExprPtr inner = Tuple();
  tokens_.ExpectOp(")");
  return inner;
}

ExprPtr ExprParser::ListDisplay() {
  auto list = Make<SequenceExpr>(tokens_.line());
  tokens_.ExpectOp("[");
  while (!tokens_.IsOp("]")) {
    list->items.push_back(Expression());
    Count(*list, list->items.back());
    if (!tokens_.AcceptOp(",")) break;
  }
  tokens_.ExpectOp("]");
  return list;
}

ExprPtr ExprParser::DictDisplay() {
  auto dict = Make<DictExpr>(tokens_.line());
  tokens_.ExpectOp("{");
  while (!tokens_.IsOp("}")) {
    ExprPtr key = Expression();
    tokens_.ExpectOp(":");
    dict->items.emplace_back(std::move(key), Expression());
    Count(*dict, dict->items.back().first);
    Count(*dict, dict->items.back().second);
    if (!tokens_.AcceptOp(",")) break;
  }
  tokens_.ExpectOp("}");
  return dict;
}

ExprPtr ExprParser::Postfix(ExprPtr object) {
  while (true) {
    if (tokens_.IsOp(".")) {
      object = Attribute(std::move(object));
    } else if (tokens_.IsOp("[")) {
      object = Subscript(std::move(object));
    } else if (tokens_.IsOp("(")) {
      object = Call(std::move(object));
    } else {
      return object;
    }
  }
}

ExprPtr ExprParser::Attribute(ExprPtr object) {
  const int line = tokens_.line();
  tokens_.ExpectOp(".");
  if (tokens_.Peek().type == TokenType::kInteger) {
    auto node = Make<ItemExpr>(line);
    node->object = std::move(object);
    node->key = Integer();
    Count(*node, node->object);
    return node;
  }
  auto node = Make<AttributeExpr>(line);
  node->object = std::move(object);
  node->name = tokens_.TakeName("the name of an attribute");
  Count(*node, node->object);
  return node;
}

ExprPtr ExprParser::Subscript(ExprPtr object) {
  const int line = tokens_.line();
  tokens_.ExpectOp("[");
  ExprPtr key = tokens_.IsOp(":") ? nullptr : Expression();
  if (key == nullptr || tokens_.IsOp(":")) return Slice(std::move(object), std::move(key), line);
  if (tokens_.IsOp(",")) {
    auto tuple = Make<SequenceExpr>(line);
    tuple->kind = Kind::kTuple;
    Count(*tuple, key);
    tuple->items.push_back(std::move(key));
    while (tokens_.AcceptOp(",")) {
      tuple->items.push_back(Expression());
      Count(*tuple, tuple->items.back());
    }
    key = std::move(tuple);
  }
  tokens_.ExpectOp("]");
  auto node = Make<ItemExpr>(line);
  node->object = std::move(object);
  node->key = std::move(key);
  Count(*node, node->object);
  Count(*node, node->key);
  return node;
}

ExprPtr ExprParser::Slice(ExprPtr object, ExprPtr start, int line) {
  auto node = Make<SliceExpr>(line);
  node->object = std::move(object);
  node->start = std::move(start);
  tokens_.ExpectOp(":");
  if (!tokens_.IsOp(":") && !tokens_.IsOp("]")) node->stop = Expression();
  if (tokens_.AcceptOp(":") && !tokens_.IsOp("]")) node->step = Expression();
  tokens_.ExpectOp("]");
  Count(*node, node->object);
  Count(*node, node->start);
  Count(*node, node->stop);
  Count(*node, node->step);
  return node;
}

ExprPtr ExprParser::Call(ExprPtr callee) {
  auto node = Make<CallExpr>(tokens_.line());
  node->callee = std::move(callee);
  node->args = CallArguments();
  Count(*node, node->callee);
  Count(*node, node->args);
  return node;
}

CallArgs ExprParser::CallArguments() {
  CallArgs args;
  tokens_.ExpectOp("(");
  while (!tokens_.IsOp(")")) {
    if (tokens_.IsOp("*") || tokens_.IsOp("**")) {
      throw Failure{"unpacking arguments with '*' is not supported", StatusCode::kUnsupported,
                    tokens_.line()};
    }
    if (tokens_.Peek().type == TokenType::kName && tokens_.Is(TokenType::kOperator, "=", 1)) {
      std::string name = tokens_.Next().text;
      tokens_.Next();
      args.named.emplace_back(std::move(name), Expression());
    } else {
      if (!args.named.empty()) tokens_.Fail("positional argument after a keyword argument");
      args.positional.push_back(Expression());
    }
    if (!tokens_.AcceptOp(",")) break;
  }
  tokens_.ExpectOp(")");
  return args;
}

ExprPtr ExprParser::FiltersAndTests(ExprPtr input) {
  while (true) {
    if (tokens_.IsOp("|")) {
      input = Filters(std::move(input), false);
    } else if (tokens_.IsName("is")) {
      input = Test(std::move(input));
    } else if (tokens_.IsOp("(")) {
      input = Call(std::move(input));
    } else {
      return input;
    }
  }
}

std::string ExprParser::DottedName() {
  std::string name = tokens_.TakeName("the name of a filter or test");
  while (tokens_.AcceptOp(".")) name.append(1, '.').append(tokens_.TakeName("a name"));
  return name;
}

ExprPtr ExprParser::Filters(ExprPtr input, bool first) {
  while (std::exchange(first, false) || tokens_.AcceptOp("|")) input = Filter(std::move(input));
  return input;
}

ExprPtr ExprParser::Filter(ExprPtr input) {
  auto node = Make<FilterExpr>(tokens_.line());
  node->input = std::move(input);
  node->name = DottedName();
  if (tokens_.IsOp("(")) node->args = CallArguments();
  Count(*node, node->input);
  Count(*node, node->args);
  return node;
}

bool ExprParser::StartsTestArgument() const {
  const Token& token = tokens_.Peek();
  switch (token.type) {
    case TokenType::kName: return token.text != "else" && token.text != "or" && token.text != "and";
    case TokenType::kString:
    case TokenType::kInteger:
    case TokenType::kFloat: return true;
    default: return tokens_.IsOp("[") || tokens_.IsOp("{");
  }
}

ExprPtr ExprParser::Test(ExprPtr input) {
  auto node = Make<TestExpr>(tokens_.line());
  tokens_.ExpectName("is");
  node->input = std::move(input);
  node->negated = tokens_.AcceptName("not");
  node->name = DottedName();
  if (tokens_.IsOp("(")) {
    node->args = CallArguments();
  } else if (StartsTestArgument()) {
    if (tokens_.IsName("is")) tokens_.Fail("tests cannot be chained with 'is'");
    node->args.positional.push_back(Postfix(Primary()));
  }
  Count(*node, node->input);
  Count(*node, node->args);
  return node;
}

}  // namespace kvasir::jinja
