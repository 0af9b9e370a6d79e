#include "kvasir/model/vocabulary_tokenizer.h"

#include <fmt/core.h>

#include <algorithm>
#include <cassert>

#include "kvasir/model/byte_alphabet.h"

namespace kvasir {
namespace {

constexpr std::string_view kMetaspace = "\xE2\x96\x81";  // U+2581, how SentencePiece spells a space

std::string WithSpaces(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const bool is_space = text.starts_with(kMetaspace);
    out += is_space ? ' ' : text[0];
    text.remove_prefix(is_space ? kMetaspace.size() : 1);
  }
  return out;
}

// Where the word at the start of `text` ends: before the first U+2581 that follows anything else.
size_t WordEnd(std::string_view text) {
  size_t at = 0;
  while (text.substr(at).starts_with(kMetaspace)) at += kMetaspace.size();
  return std::min(text.find(kMetaspace, at), text.size());
}

// The pieces' texts joined, and where in it control tokens may be found. Neighbours that both
// allow them make one range.
struct JoinedPieces {
  std::string text;
  std::vector<TextRange> allowed;
};

JoinedPieces Join(std::span<const Tokenizer::Piece> pieces) {
  JoinedPieces joined;
  for (const Tokenizer::Piece& piece : pieces) {
    const size_t begin = joined.text.size();
    joined.text += piece.text;
    if (!piece.parse_special || piece.text.empty()) continue;
    if (!joined.allowed.empty() && joined.allowed.back().end == begin) {
      joined.allowed.back().end = joined.text.size();
    } else {
      joined.allowed.push_back({begin, joined.text.size()});
    }
  }
  return joined;
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> VocabularyTokenizer::Make(VocabularySpec spec) {
  std::unique_ptr<VocabularyTokenizer> made(new VocabularyTokenizer(std::move(spec)));
  if (made->spec_.type == VocabularySpec::Type::kSpm) {
    made->merger_ = MakeSpmMerger(made->spec_, made->index_);
  } else {
    KVASIR_ASSIGN_OR_RETURN(made->merger_, MakeBpeMerger(made->spec_, made->index_));
    made->spec_.merges = {};
  }
  made->cut_words_ = made->MergesStayWithinWords();
  made->IndexAddedTokens();
  return std::unique_ptr<Tokenizer>(std::move(made));
}

VocabularyTokenizer::VocabularyTokenizer(VocabularySpec spec)
    : spec_(std::move(spec)), index_(spec_.tokens, spec_.kinds) {
  std::sort(spec_.eog.begin(), spec_.eog.end());
}

bool VocabularyTokenizer::MergesStayWithinWords() const {
  if (spec_.byte_level || spec_.ignore_merges || index_.Find(kMetaspace) < 0) return false;
  return std::all_of(spec_.tokens.begin(), spec_.tokens.end(), [&](const std::string& token) {
    return WordEnd(token) == token.size() || index_.Find(token) < 0;
  });
}

bool VocabularyTokenizer::IsSpecial(TokenId id) const {
  return spec_.kinds[id] == TokenKind::kControl || spec_.kinds[id] == TokenKind::kUnknown;
}

void VocabularyTokenizer::IndexAddedTokens() {
  std::unordered_map<TokenId, AddedTokenRule> rules;
  for (const AddedTokenRule& rule : spec_.added_rules) rules.try_emplace(rule.id, rule);
  for (TokenId id = 0; id < n_vocab(); ++id) {
    if (spec_.tokens[id].empty()) continue;
    if (!IsSpecial(id) && spec_.kinds[id] != TokenKind::kUserDefined) continue;
    const auto found = rules.find(id);
    const AddedTokenRule rule = found == rules.end() ? AddedTokenRule{} : found->second;
    const AddedTokens::Rule found_as{id, IsSpecial(id), rule.lstrip, rule.rstrip};
    // Control tokens are always looked for in the given text: only there is it known who wrote it.
    if (rule.normalized && !IsSpecial(id)) {
      const std::string text = Normalize(*spec_.pipeline, spec_.tokens[id]);
      if (!text.empty()) normalized_added_.Add(text, found_as);
    } else {
      raw_added_.Add(spec_.tokens[id], found_as);
    }
  }
}

std::vector<TokenId> VocabularyTokenizer::Encode(std::string_view text,
                                                 EncodeOptions options) const {
  const Piece piece{text, options.parse_special};
  return Encode(std::span(&piece, 1), options.add_bos);
}

std::vector<TokenId> VocabularyTokenizer::Encode(std::span<const Piece> pieces,
                                                 bool add_bos) const {
  std::vector<TokenId> out;
  if (add_bos && spec_.bos >= 0) out.push_back(spec_.bos);
  const JoinedPieces joined = Join(pieces);
  for (const TextSection& section : raw_added_.Partition(joined.text, joined.allowed)) {
    if (section.id >= 0) {
      out.push_back(section.id);
    } else {
      const auto [begin, end] = section.range;
      EncodeText(std::string_view(joined.text).substr(begin, end - begin), begin == 0, out);
    }
  }
  return out;
}

void VocabularyTokenizer::EncodeText(std::string_view text, bool at_start,
                                     std::vector<TokenId>& out) const {
  const std::string normalized = Normalize(*spec_.pipeline, text);
  for (const TextSection& section : normalized_added_.Partition(normalized, {})) {
    if (section.id >= 0) {
      out.push_back(section.id);
    } else {
      const auto [begin, end] = section.range;
      EncodeWords(std::string_view(normalized).substr(begin, end - begin), at_start && begin == 0,
                  out);
    }
  }
}

void VocabularyTokenizer::EncodeWords(std::string_view text, bool at_start,
                                      std::vector<TokenId>& out) const {
  Words words;
  SplitWords(*spec_.pipeline, text, at_start, words);
  MergeScratch scratch;
  for (std::string_view word : words.words) {
    while (!word.empty()) {
      const size_t end = cut_words_ ? WordEnd(word) : word.size();
      merger_->Merge(word.substr(0, end), scratch, out);
      word.remove_prefix(end);
    }
  }
}

std::string VocabularyTokenizer::TokenBytes(TokenId id, bool show_special) const {
  assert(id >= 0);
  if (id >= n_vocab()) return std::string();
  const std::string& text = spec_.tokens[id];
  if (IsSpecial(id)) return show_special ? text : std::string();
  if (spec_.kinds[id] == TokenKind::kByte) {
    const int byte = ParseByteToken(text);
    if (byte >= 0) return std::string(1, static_cast<char>(byte));
  }
  if (!spec_.byte_level) return WithSpaces(text);
  return spec_.kinds[id] == TokenKind::kUserDefined ? text : AlphabetToBytes(text);
}

Result<std::string> VocabularyTokenizer::Decode(std::span<const TokenId> ids,
                                                bool show_special) const {
  std::string out;
  bool undo_prefix = spec_.add_space_prefix;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= n_vocab()) {
      return Status::InvalidArgument(fmt::format(
          "token {} at index {}: expected an id from 0 to {}", ids[i], i, n_vocab() - 1));
    }
    const std::string bytes = TokenBytes(ids[i], show_special);
    // Control tokens stand before the text, not in it.
    const bool starts_text = undo_prefix && !IsSpecial(ids[i]) && !bytes.empty();
    out += starts_text && bytes[0] == ' ' ? std::string_view(bytes).substr(1) : bytes;
    if (starts_text) undo_prefix = false;
  }
  return out;
}

bool VocabularyTokenizer::IsEndOfGeneration(TokenId id) const {
  return std::binary_search(spec_.eog.begin(), spec_.eog.end(), id);
}

std::string_view VocabularyTokenizer::type_name() const {
  return spec_.type == VocabularySpec::Type::kSpm ? "spm" : "bpe";
}

}  // namespace kvasir
