#include "kvasir/policy/replay_question.h"

#include <algorithm>

namespace kvasir {

size_t ReplayQuestion::max_size() const {
  const size_t longest = later.empty() ? 0 : later.size() + kOverlap;
  return std::max(first.size(), longest) + after.size();
}

ReplayQuestion MakeReplayQuestion(const Tokenizer& tokenizer) {
  const auto encode = [&](const char* text) {
    return tokenizer.Encode(text, {.add_bos = false, .parse_special = false});
  };
  return {encode("\n\nRepeat the previous context exactly."),
          encode("\n\nRepeat the part of the previous context exactly, starting with"),
          encode("\n")};
}

std::vector<TokenId> ReplayText(const ReplayQuestion& question, std::span<const TokenId> prompt,
                                size_t begin, size_t end) {
  std::vector<TokenId> text = begin == 0 ? question.first : question.later;
  const auto add = [&](std::span<const TokenId> more) {
    text.insert(text.end(), more.begin(), more.end());
  };
  if (begin > 0 && !question.later.empty()) {
    const size_t overlap = std::min(begin, ReplayQuestion::kOverlap);
    add(prompt.subspan(begin - overlap, overlap));
  }
  add(question.after);
  add(prompt.subspan(begin, end - begin));
  return text;
}

}  // namespace kvasir
