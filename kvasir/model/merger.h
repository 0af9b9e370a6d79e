// From a word to its tokens: symbols start as characters and merge pair by pair, best pair first.
// O(n log n) in the word's length. Sennrich et al., arXiv:1508.07909; Kudo and Richardson,
// arXiv:1808.06226.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "kvasir/model/token_index.h"
#include "kvasir/model/tokenizer.h"
#include "kvasir/model/vocabulary.h"
#include "kvasir/status.h"

namespace kvasir {

// A stretch of the word; neighbours by index, -1 at the ends. Length 0: merged into another.
struct MergeSymbol {
  int32_t previous;
  int32_t next;
  uint32_t begin;
  uint32_t length;
  TokenId id;  // -1 while no token
};

// Smaller priority first, then leftmost.
struct MergeCandidate {
  double priority;
  int32_t left;
  uint32_t length;  // of both symbols together
  TokenId merged;
};

// Working memory, kept between words.
struct MergeScratch {
  std::vector<MergeSymbol> symbols;
  std::vector<MergeCandidate> heap;
};

// Immutable; safe to share between threads, each with its own scratch.
class Merger {
 public:
  virtual ~Merger() = default;
  virtual void Merge(std::string_view word, MergeScratch& scratch,
                     std::vector<TokenId>& out) const = 0;
};

// `index` and `spec` outlive the merger; `spec.merges` is only read here.
Result<std::unique_ptr<Merger>> MakeBpeMerger(const VocabularySpec& spec, const TokenIndex& index);
std::unique_ptr<Merger> MakeSpmMerger(const VocabularySpec& spec, const TokenIndex& index);

}  // namespace kvasir
