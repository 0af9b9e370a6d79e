// Template source to tokens, with trim_blocks and lstrip_blocks on.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace kvasir::jinja {

enum class TokenType {
  kData,  // text between tags, white space already trimmed
  kBlockBegin,
  kBlockEnd,
  kVariableBegin,
  kVariableEnd,
  kName,
  kString,   // text is the value, escapes resolved
  kInteger,  // text is decimal, or has a 0x, 0o or 0b prefix; no underscores
  kFloat,
  kOperator,
  kEnd,
};

struct Token {
  TokenType type;
  std::string text;
  int line;
};

// Ends with a kEnd token. Throws Failure with the line of a tag, comment, string or bracket that
// does not close, or of a character that starts no token.
std::vector<Token> Tokenize(std::string_view source);

}  // namespace kvasir::jinja
