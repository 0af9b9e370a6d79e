// Finds tokens that text may spell out: control tokens, user-defined ones, Hugging Face's added
// tokens. Leftmost match first, longest at that place.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "kvasir/model/tokenizer.h"

namespace kvasir {

// Bytes [begin, end) of a text.
struct TextRange {
  size_t begin = 0;
  size_t end = 0;
};

// A stretch of text that is one added token, or none (id = -1).
struct TextSection {
  TextRange range;
  TokenId id = -1;
};

// Immutable once filled; safe to share between threads.
class AddedTokens {
 public:
  struct Rule {
    TokenId id = -1;
    bool restricted = false;  // found only inside the ranges that allow it
    bool lstrip = false;      // the match swallows white space before it
    bool rstrip = false;      // ... and after it
  };

  // `text` is not empty. Of two tokens with the same text the first stays.
  void Add(std::string_view text, const Rule& rule);
  bool empty() const { return rules_.empty(); }

  // Cuts `text` into sections in order, none empty. Restricted tokens are found only where they
  // lie within one of `allowed`, which is sorted and disjoint.
  std::vector<TextSection> Partition(std::string_view text,
                                     std::span<const TextRange> allowed) const;

 private:
  struct Found {
    size_t end = 0;
    const Rule* rule = nullptr;
  };
  // Longest token at `begin`; restricted ones must end by `restricted_end`.
  Found LongestAt(std::string_view text, size_t begin, size_t restricted_end) const;

  // A trie: the child of `node` by `byte` is at node << 8 | byte. Node 0 is the root.
  std::unordered_map<uint64_t, uint32_t> children_;
  std::vector<int32_t> rule_of_node_ = {-1};
  std::vector<Rule> rules_;
  std::array<bool, 256> starts_{};  // bytes that some token starts with
};

}  // namespace kvasir
