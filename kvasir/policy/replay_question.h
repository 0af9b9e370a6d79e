// What a prompt that is read a second time begins with, part by part.
#pragma once

#include <span>
#include <vector>

#include "kvasir/model/tokenizer.h"

namespace kvasir {

// Tokens; all may be empty, and then the parts are read again without a word.
struct ReplayQuestion {
  std::vector<TokenId> first;  // before the first part: "repeat the text above"
  std::vector<TokenId> later;  // before the others: "... starting with", and then the last kOverlap
                               // tokens of the part before
  std::vector<TokenId> after;  // between a question and its part

  static constexpr size_t kOverlap = 8;
  // The longest question.
  size_t max_size() const;
};

// KVzip's words, arXiv:2505.23416, for models without a chat template.
ReplayQuestion MakeReplayQuestion(const Tokenizer& tokenizer);

// What is read for the part [begin, end) of `prompt`, begin < end: its question and itself.
std::vector<TokenId> ReplayText(const ReplayQuestion& question, std::span<const TokenId> prompt,
                                size_t begin, size_t end);

}  // namespace kvasir
