// The tokenizer that every VocabularySpec becomes.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kvasir/model/added_tokens.h"
#include "kvasir/model/merger.h"
#include "kvasir/model/token_index.h"
#include "kvasir/model/vocabulary.h"

namespace kvasir {

class VocabularyTokenizer final : public Tokenizer {
 public:
  // `spec` is complete: kinds for every token, ids in range, a pipeline.
  static Result<std::unique_ptr<Tokenizer>> Make(VocabularySpec spec);

  std::vector<TokenId> Encode(std::string_view text, EncodeOptions options) const override;
  std::vector<TokenId> Encode(std::span<const Piece> pieces, bool add_bos) const override;
  std::string TokenBytes(TokenId id, bool show_special) const override;
  Result<std::string> Decode(std::span<const TokenId> ids, bool show_special) const override;

  int32_t n_vocab() const override { return static_cast<int32_t>(spec_.tokens.size()); }
  TokenKind kind(TokenId id) const override {
    return id < n_vocab() ? spec_.kinds[id] : TokenKind::kUnused;
  }
  std::string_view text(TokenId id) const override {
    return id < n_vocab() ? std::string_view(spec_.tokens[id]) : std::string_view();
  }
  TokenId bos() const override { return spec_.bos; }
  TokenId eos() const override { return spec_.eos; }
  bool add_bos_by_default() const override { return spec_.add_bos; }
  bool IsEndOfGeneration(TokenId id) const override;
  std::string_view type_name() const override;
  std::string_view pre_name() const override { return spec_.pre_name; }

 private:
  explicit VocabularyTokenizer(VocabularySpec spec);
  void IndexAddedTokens();
  // Normalises and encodes text in which no added token of the raw text is left.
  void EncodeText(std::string_view text, bool at_start, std::vector<TokenId>& out) const;
  void EncodeWords(std::string_view text, bool at_start, std::vector<TokenId>& out) const;
  bool IsSpecial(TokenId id) const;
  // Whether merging can never cross from another character to U+2581, which is true of most
  // vocabularies with spaces in their tokens. Then words may be merged one by one.
  bool MergesStayWithinWords() const;

  VocabularySpec spec_;
  TokenIndex index_;
  std::unique_ptr<Merger> merger_;
  bool cut_words_ = false;        // MergesStayWithinWords
  AddedTokens raw_added_;         // found in the text as it is given
  AddedTokens normalized_added_;  // found after normalisation
};

}  // namespace kvasir
