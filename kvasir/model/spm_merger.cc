#include "kvasir/model/merge_loop.h"
#include "kvasir/model/merger.h"

namespace kvasir {
namespace {

class SpmMerger final : public Merger {
 public:
  SpmMerger(const VocabularySpec& spec, const TokenIndex& index) : spec_(spec), index_(index) {}

  void Merge(std::string_view word, MergeScratch& scratch,
             std::vector<TokenId>& out) const override {
    StartSymbols(word, index_, false, scratch.symbols);
    // An unused token may be a step on the way to another, but not the result; where it was made
    // is where it comes apart again.
    std::unordered_map<std::string_view, uint32_t> unused_cut;
    MergeSymbols(
        scratch,
        [&](const MergeSymbol& left, const MergeSymbol&, MergeCandidate& candidate) {
          candidate.merged = index_.Find(word.substr(left.begin, candidate.length));
          if (candidate.merged < 0) return false;
          candidate.priority = -Score(candidate.merged);
          return true;
        },
        [&](const MergeSymbol& left, const MergeSymbol& right, TokenId id) {
          if (!IsUnused(id)) return;
          unused_cut.try_emplace(word.substr(left.begin, left.length + right.length), left.length);
        });
    const auto& symbols = scratch.symbols;
    for (int32_t i = symbols.empty() ? -1 : 0; i >= 0; i = symbols[i].next) {
      Emit(word.substr(symbols[i].begin, symbols[i].length), unused_cut, out);
    }
  }

 private:
  double Score(TokenId id) const { return spec_.scores.empty() ? 0.0 : spec_.scores[id]; }
  bool IsUnused(TokenId id) const { return spec_.kinds[id] == TokenKind::kUnused; }

  void Emit(std::string_view text, const std::unordered_map<std::string_view, uint32_t>& unused_cut,
            std::vector<TokenId>& out) const {
    std::vector<std::string_view> rest = {text};
    while (!rest.empty()) {
      const std::string_view part = rest.back();
      rest.pop_back();
      const TokenId id = index_.Find(part);
      if (id >= 0 && !IsUnused(id)) {
        out.push_back(id);
      } else if (const auto cut = unused_cut.find(part); id >= 0 && cut != unused_cut.end()) {
        rest.push_back(part.substr(cut->second));
        rest.push_back(part.substr(0, cut->second));
      } else {
        EmitBytes(part, out);
      }
    }
  }

  void EmitBytes(std::string_view part, std::vector<TokenId>& out) const {
    const size_t before = out.size();
    for (const char c : part) {
      const TokenId id = spec_.byte_fallback ? index_.ByteToken(static_cast<uint8_t>(c)) : -1;
      if (id < 0) {
        out.resize(before);
        if (spec_.unk >= 0) out.push_back(spec_.unk);
        return;
      }
      out.push_back(id);
    }
  }

  const VocabularySpec& spec_;
  const TokenIndex& index_;
};

}  // namespace

std::unique_ptr<Merger> MakeSpmMerger(const VocabularySpec& spec, const TokenIndex& index) {
  return std::make_unique<SpmMerger>(spec, index);
}

}  // namespace kvasir
