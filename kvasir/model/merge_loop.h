// The loop that both kinds of merging share.
#pragma once

#include <algorithm>
#include <string_view>

#include "kvasir/model/merger.h"
#include "kvasir/model/token_index.h"
#include "kvasir/model/utf8.h"

namespace kvasir {

// One symbol a character; bytes that are not UTF-8 are symbols of their own. With `split_unknown`
// a character that is no token but whose bytes are becomes one symbol a byte.
inline void StartSymbols(std::string_view word, const TokenIndex& index, bool split_unknown,
                         std::vector<MergeSymbol>& symbols) {
  symbols.clear();
  const auto push = [&](size_t begin, size_t length, TokenId id) {
    const auto at = static_cast<int32_t>(symbols.size());
    symbols.push_back(
        {at - 1, at + 1, static_cast<uint32_t>(begin), static_cast<uint32_t>(length), id});
  };
  for (size_t at = 0; at < word.size();) {
    const Utf8Unit unit = NextUtf8(word.substr(at));
    const size_t length = unit.kind == Utf8Kind::kValid ? unit.length : 1;
    const std::string_view text = word.substr(at, length);
    const TokenId id = index.Find(text);
    const bool split =
        id < 0 && split_unknown && std::all_of(text.begin(), text.end(), [&](char c) {
          return index.ByteToken(static_cast<uint8_t>(c)) >= 0;
        });
    if (split) {
      for (size_t i = 0; i < length; ++i) {
        push(at + i, 1, index.ByteToken(static_cast<uint8_t>(text[i])));
      }
    } else {
      push(at, length, id);
    }
    at += length;
  }
  if (!symbols.empty()) symbols.back().next = -1;
}

// Merges until nothing is left to merge. `propose(left, right, candidate)` fills priority and
// merged id and returns whether the two may merge; `merged(left, right, id)` is told of each merge
// before it happens.
template <typename Propose, typename Merged>
void MergeSymbols(MergeScratch& scratch, Propose propose, Merged merged) {
  auto& symbols = scratch.symbols;
  auto& heap = scratch.heap;
  const auto later = [](const MergeCandidate& a, const MergeCandidate& b) {
    return a.priority != b.priority ? a.priority > b.priority : a.left > b.left;
  };
  const auto consider = [&](int32_t left) {
    if (left < 0 || symbols[left].next < 0) return false;
    const MergeSymbol& right = symbols[symbols[left].next];
    MergeCandidate candidate{0, left, symbols[left].length + right.length, -1};
    if (!propose(symbols[left], right, candidate)) return false;
    heap.push_back(candidate);
    return true;
  };
  heap.clear();
  for (int32_t i = 0; i + 1 < static_cast<int32_t>(symbols.size()); ++i) consider(i);
  std::make_heap(heap.begin(), heap.end(), later);
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), later);
    const MergeCandidate best = heap.back();
    heap.pop_back();
    MergeSymbol& left = symbols[best.left];
    if (left.length == 0 || left.next < 0) continue;
    MergeSymbol& right = symbols[left.next];
    // Symbols only grow, so an equal sum means that neither changed since.
    if (left.length + right.length != best.length) continue;
    merged(left, right, best.merged);
    left.length = best.length;
    left.id = best.merged;
    left.next = right.next;
    right.length = 0;
    if (left.next >= 0) symbols[left.next].previous = best.left;
    if (consider(left.previous)) std::push_heap(heap.begin(), heap.end(), later);
    if (consider(best.left)) std::push_heap(heap.begin(), heap.end(), later);
  }
}

}  // namespace kvasir
