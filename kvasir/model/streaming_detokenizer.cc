#include "kvasir/model/tokenizer.h"
#include "kvasir/model/utf8.h"

namespace kvasir {

std::string StreamingDetokenizer::Push(TokenId id) {
  if (!at_start_) {
    pending_ += tokenizer_.TokenBytes(id, show_special_);
    return TakeCompleteUtf8(pending_);
  }
  // Decode undoes the vocabulary's leading-space rule; control tokens come before the text.
  const Result<std::string> text = tokenizer_.Decode({&id, 1}, show_special_);
  if (text.ok()) pending_ += *text;
  at_start_ = tokenizer_.TokenBytes(id).empty();
  return TakeCompleteUtf8(pending_);
}

std::string StreamingDetokenizer::Finish() {
  std::string text = TakeCompleteUtf8(pending_);
  if (!pending_.empty()) text += kReplacementCharacter;
  pending_.clear();
  return text;
}

}  // namespace kvasir
