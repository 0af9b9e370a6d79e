#include "kvasir/measure/tasks/score.h"

#include <cctype>

namespace kvasir {
namespace {

bool IsSpace(char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; }
bool IsPunctuation(char c) { return std::ispunct(static_cast<unsigned char>(c)) != 0; }
// Bytes above 127 belong to letters of other scripts.
bool IsWord(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' ||
         static_cast<unsigned char>(c) > 127;
}

bool StandsAt(std::string_view text, std::string_view wanted, size_t at) {
  const size_t end = at + wanted.size();
  const bool begins = at == 0 || !IsWord(text[at - 1]) || !IsWord(wanted.front());
  const bool ends = end == text.size() || !IsWord(text[end]) || !IsWord(wanted.back());
  return begins && ends;
}

bool StandsAnywhere(std::string_view text, std::string_view wanted) {
  for (size_t at = text.find(wanted); at != std::string_view::npos;
       at = text.find(wanted, at + 1)) {
    if (StandsAt(text, wanted, at)) return true;
  }
  return false;
}

}  // namespace

std::string NormalizeReply(std::string_view text) {
  const auto strip = [](char c) { return IsSpace(c) || IsPunctuation(c); };
  while (!text.empty() && strip(text.front())) text.remove_prefix(1);
  while (!text.empty() && strip(text.back())) text.remove_suffix(1);
  std::string normal;
  for (const char c : text) {
    if (!IsSpace(c)) {
      normal += c;
    } else if (normal.back() != ' ') {
      normal += ' ';
    }
  }
  return normal;
}

double ScoreReply(std::string_view reply, std::span<const std::string> expected) {
  if (expected.empty()) return 0;
  const std::string text = NormalizeReply(reply);
  int n_found = 0;
  for (const std::string& one : expected) {
    const std::string wanted = NormalizeReply(one);
    if (wanted.empty()) continue;
    const bool found = expected.size() == 1 ? text.starts_with(wanted) && StandsAt(text, wanted, 0)
                                            : StandsAnywhere(text, wanted);
    n_found += found ? 1 : 0;
  }
  return n_found / static_cast<double>(expected.size());
}

}  // namespace kvasir
