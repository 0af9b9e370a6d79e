#include <fmt/core.h>

#include <bit>

#include "kvasir/model/merge_loop.h"
#include "kvasir/model/merger.h"

namespace kvasir {
namespace {

// A pair of tokens -> its rank and the token it makes. Open addressing: a vocabulary has hundreds
// of thousands of merges and each character of text asks several times.
class PairTable {
 public:
  struct Merge {
    uint64_t key = kEmpty;
    uint32_t rank = 0;
    TokenId merged = -1;
  };

  explicit PairTable(size_t n) : slots_(std::bit_ceil(n * 2 + 1)) {}

  // The first merge of a pair stays.
  void Add(TokenId left, TokenId right, uint32_t rank, TokenId merged) {
    Merge& slot = slots_[SlotOf(Key(left, right))];
    if (slot.key == kEmpty) slot = {Key(left, right), rank, merged};
  }

  const Merge* Find(TokenId left, TokenId right) const {
    const Merge& slot = slots_[SlotOf(Key(left, right))];
    return slot.key == kEmpty ? nullptr : &slot;
  }

 private:
  static constexpr uint64_t kEmpty = ~uint64_t{0};  // ids are not negative

  static uint64_t Key(TokenId left, TokenId right) {
    return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
  }
  // Where `key` is or would be.
  size_t SlotOf(uint64_t key) const {
    uint64_t hash = key * 0x9E3779B97F4A7C15u;
    hash ^= hash >> 32;
    size_t slot = hash & (slots_.size() - 1);
    while (slots_[slot].key != key && slots_[slot].key != kEmpty) {
      slot = (slot + 1) & (slots_.size() - 1);
    }
    return slot;
  }

  std::vector<Merge> slots_;
};

class BpeMerger final : public Merger {
 public:
  BpeMerger(const VocabularySpec& spec, const TokenIndex& index, PairTable merges)
      : spec_(spec), index_(index), merges_(std::move(merges)) {}

  void Merge(std::string_view word, MergeScratch& scratch,
             std::vector<TokenId>& out) const override {
    if (spec_.ignore_merges) {
      if (const TokenId whole = index_.Find(word); whole >= 0) {
        out.push_back(whole);
        return;
      }
    }
    StartSymbols(word, index_, spec_.byte_fallback, scratch.symbols);
    MergeSymbols(
        scratch,
        [&](const MergeSymbol& left, const MergeSymbol& right, MergeCandidate& candidate) {
          if (left.id < 0 || right.id < 0) return false;
          const PairTable::Merge* merge = merges_.Find(left.id, right.id);
          if (merge == nullptr) return false;
          candidate.priority = merge->rank;
          candidate.merged = merge->merged;
          return true;
        },
        [](const MergeSymbol&, const MergeSymbol&, TokenId) {});
    Emit(scratch.symbols, out);
  }

 private:
  void Emit(const std::vector<MergeSymbol>& symbols, std::vector<TokenId>& out) const {
    bool after_unknown = false;
    for (int32_t i = symbols.empty() ? -1 : 0; i >= 0; i = symbols[i].next) {
      const bool unknown = symbols[i].id < 0;
      if (!unknown) {
        out.push_back(symbols[i].id);
      } else if (spec_.unk >= 0 && !(after_unknown && spec_.fuse_unknown)) {
        out.push_back(spec_.unk);
      }
      after_unknown = unknown;
    }
  }

  const VocabularySpec& spec_;
  const TokenIndex& index_;
  PairTable merges_;
};

std::unordered_map<std::string_view, TokenId> AllTokens(const VocabularySpec& spec) {
  std::unordered_map<std::string_view, TokenId> ids;
  ids.reserve(spec.tokens.size());
  for (size_t i = 0; i < spec.tokens.size(); ++i) {
    ids.try_emplace(spec.tokens[i], static_cast<TokenId>(i));
  }
  return ids;
}

}  // namespace

Result<std::unique_ptr<Merger>> MakeBpeMerger(const VocabularySpec& spec, const TokenIndex& index) {
  const std::unordered_map<std::string_view, TokenId> ids = AllTokens(spec);
  // What a word may consist of: plain tokens, and byte tokens where characters fall back to them.
  const auto usable = [&](TokenId id) {
    return spec.kinds[id] != TokenKind::kControl && spec.kinds[id] != TokenKind::kUnknown;
  };
  PairTable table(spec.merges.size());
  std::string joined;
  for (size_t rank = 0; rank < spec.merges.size(); ++rank) {
    const auto& [left, right] = spec.merges[rank];
    joined.assign(left).append(right);
    const std::string_view parts[] = {left, right, joined};
    TokenId part_ids[3];
    for (int i = 0; i < 3; ++i) {
      const auto found = ids.find(parts[i]);
      if (found == ids.end()) {
        return Status::Corruption(fmt::format("merge {}: expected '{}' among the {} tokens", rank,
                                              parts[i], spec.tokens.size()));
      }
      part_ids[i] = found->second;
    }
    // Plain text must never become a control token, so such a merge does not apply.
    if (usable(part_ids[0]) && usable(part_ids[1]) && usable(part_ids[2])) {
      table.Add(part_ids[0], part_ids[1], static_cast<uint32_t>(rank), part_ids[2]);
    }
  }
  return std::unique_ptr<Merger>(std::make_unique<BpeMerger>(spec, index, std::move(table)));
}

}  // namespace kvasir
