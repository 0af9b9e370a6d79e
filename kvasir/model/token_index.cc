#include "kvasir/model/token_index.h"

#include <algorithm>
#include <charconv>

namespace kvasir {

int ParseByteToken(std::string_view text) {
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return -1;
  int byte = -1;
  const auto [end, error] = std::from_chars(text.data() + 3, text.data() + 5, byte, 16);
  return error == std::errc() && end == text.data() + 5 ? byte : -1;
}

TokenIndex::TokenIndex(const std::vector<std::string>& tokens,
                       const std::vector<TokenKind>& kinds) {
  byte_tokens_.fill(-1);
  ids_.reserve(tokens.size());
  for (size_t i = 0; i < tokens.size(); ++i) {
    const auto id = static_cast<TokenId>(i);
    const std::string& text = tokens[i];
    if (kinds[i] == TokenKind::kByte) {
      const int byte = ParseByteToken(text);
      if (byte >= 0 && byte_tokens_[byte] < 0) byte_tokens_[byte] = id;
    } else if (kinds[i] != TokenKind::kControl && kinds[i] != TokenKind::kUnknown &&
               !text.empty()) {
      ids_.try_emplace(text, id);
      longest_ = std::max(longest_, text.size());
    }
  }
}

TokenId TokenIndex::Find(std::string_view text) const {
  if (text.size() > longest_) return -1;
  const auto found = ids_.find(text);
  return found == ids_.end() ? -1 : found->second;
}

}  // namespace kvasir
