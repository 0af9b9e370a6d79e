// Which token a stretch of plain text is.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "kvasir/model/tokenizer.h"

namespace kvasir {

// "<0x0A>" is 10; -1 for any other text.
int ParseByteToken(std::string_view text);

// Immutable; borrows the tokens' texts.
class TokenIndex {
 public:
  // Tokens that plain text must not become (control, unknown, byte) are left out of Find.
  TokenIndex(const std::vector<std::string>& tokens, const std::vector<TokenKind>& kinds);

  // -1 when no token spells this.
  TokenId Find(std::string_view text) const;
  // The token of kind kByte for this byte, or -1.
  TokenId ByteToken(uint8_t byte) const { return byte_tokens_[byte]; }

 private:
  std::unordered_map<std::string_view, TokenId> ids_;
  std::array<TokenId, 256> byte_tokens_;
  size_t longest_ = 0;
};

}  // namespace kvasir
