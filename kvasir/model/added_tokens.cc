#include "kvasir/model/added_tokens.h"

#include <algorithm>

#include "kvasir/model/utf8.h"

namespace kvasir {
namespace {

size_t SkipSpaces(std::string_view text, size_t from) {
  while (from < text.size()) {
    const Utf8Unit unit = NextUtf8(text.substr(from));
    if (unit.kind != Utf8Kind::kValid || !IsWhiteSpace(unit.codepoint)) break;
    from += unit.length;
  }
  return from;
}

// Where the white space at the end of text[begin, end) starts.
size_t TrailingSpaces(std::string_view text, size_t begin, size_t end) {
  size_t start = end;
  for (size_t at = begin; at < end;) {
    const Utf8Unit unit = NextUtf8(text.substr(at, end - at));
    const bool is_space = unit.kind == Utf8Kind::kValid && IsWhiteSpace(unit.codepoint);
    if (!is_space) {
      start = end;
    } else if (start == end) {
      start = at;
    }
    at += unit.length;
  }
  return start;
}

}  // namespace

void AddedTokens::Add(std::string_view text, const Rule& rule) {
  uint32_t node = 0;
  for (const char c : text) {
    const uint64_t key = uint64_t{node} << 8 | static_cast<uint8_t>(c);
    const auto [child, is_new] =
        children_.try_emplace(key, static_cast<uint32_t>(rule_of_node_.size()));
    if (is_new) rule_of_node_.push_back(-1);
    node = child->second;
  }
  if (rule_of_node_[node] >= 0) return;
  rule_of_node_[node] = static_cast<int32_t>(rules_.size());
  rules_.push_back(rule);
  starts_[static_cast<uint8_t>(text[0])] = true;
}

AddedTokens::Found AddedTokens::LongestAt(std::string_view text, size_t begin,
                                          size_t restricted_end) const {
  Found found;
  if (!starts_[static_cast<uint8_t>(text[begin])]) return found;
  uint32_t node = 0;
  for (size_t at = begin; at < text.size(); ++at) {
    const auto child = children_.find(uint64_t{node} << 8 | static_cast<uint8_t>(text[at]));
    if (child == children_.end()) break;
    node = child->second;
    if (rule_of_node_[node] < 0) continue;
    const Rule& rule = rules_[rule_of_node_[node]];
    if (!rule.restricted || at < restricted_end) found = {at + 1, &rule};
  }
  return found;
}

std::vector<TextSection> AddedTokens::Partition(std::string_view text,
                                                std::span<const TextRange> allowed) const {
  std::vector<TextSection> sections;
  size_t done = 0;
  size_t range = 0;
  for (size_t at = 0; at < text.size() && !empty();) {
    while (range < allowed.size() && allowed[range].end <= at) ++range;
    const bool inside = range < allowed.size() && allowed[range].begin <= at;
    const Found found = LongestAt(text, at, inside ? allowed[range].end : 0);
    if (found.rule == nullptr) {
      ++at;
      continue;
    }
    const size_t begin = found.rule->lstrip ? TrailingSpaces(text, done, at) : at;
    if (begin > done) sections.push_back({{done, begin}});
    const size_t end = found.rule->rstrip ? SkipSpaces(text, found.end) : found.end;
    sections.push_back({{begin, end}, found.rule->id});
    done = at = end;
  }
  if (done < text.size()) sections.push_back({{done, text.size()}});
  return sections;
}

}  // namespace kvasir
