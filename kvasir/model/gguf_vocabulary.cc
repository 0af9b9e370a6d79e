#include "kvasir/model/gguf_vocabulary.h"

#include <fmt/core.h>

#include <algorithm>
#include <cctype>
#include <string>
#include <string_view>

#include "kvasir/model/token_index.h"

namespace kvasir {
namespace {

constexpr std::string_view kModelKey = "tokenizer.ggml.model";
constexpr std::string_view kPreKey = "tokenizer.ggml.pre";
constexpr std::string_view kTokensKey = "tokenizer.ggml.tokens";
constexpr std::string_view kScoresKey = "tokenizer.ggml.scores";
constexpr std::string_view kTypesKey = "tokenizer.ggml.token_type";
constexpr std::string_view kMergesKey = "tokenizer.ggml.merges";
constexpr std::string_view kAddBosKey = "tokenizer.ggml.add_bos_token";
constexpr std::string_view kAddSpacePrefixKey = "tokenizer.ggml.add_space_prefix";

std::string Where(const GgufFile& file, std::string_view key) {
  return fmt::format("{}: {}", file.path(), key);
}

Status ReadTokens(const GgufFile& file, VocabularySpec& spec) {
  KVASIR_ASSIGN_OR_RETURN(const auto tokens, file.GetStrings(kTokensKey));
  if (tokens.size() > static_cast<size_t>(kMaxVocabulary)) {
    return Status::Corruption(fmt::format("{}: expected at most {} tokens, found {}",
                                          Where(file, kTokensKey), kMaxVocabulary, tokens.size()));
  }
  spec.tokens.assign(tokens.begin(), tokens.end());
  return Status::Ok();
}

Status CheckCount(const GgufFile& file, std::string_view key, size_t found,
                  const VocabularySpec& spec) {
  if (found == spec.tokens.size()) return Status::Ok();
  return Status::Corruption(fmt::format("{}: expected {} elements, one a token, found {}",
                                        Where(file, key), spec.tokens.size(), found));
}

// By value of tokenizer.ggml.token_type; 0 is "undefined", which files use for plain tokens.
constexpr TokenKind kKinds[] = {TokenKind::kNormal,  TokenKind::kNormal,      TokenKind::kUnknown,
                                TokenKind::kControl, TokenKind::kUserDefined, TokenKind::kUnused,
                                TokenKind::kByte};

Status ReadKinds(const GgufFile& file, VocabularySpec& spec) {
  if (!file.Has(kTypesKey)) {
    if (spec.type == VocabularySpec::Type::kSpm) {
      for (const std::string& token : spec.tokens) {
        spec.kinds.push_back(ParseByteToken(token) >= 0 ? TokenKind::kByte : TokenKind::kNormal);
      }
    }
    return Status::Ok();
  }
  KVASIR_ASSIGN_OR_RETURN(const auto types, file.GetI32s(kTypesKey));
  KVASIR_RETURN_IF_ERROR(CheckCount(file, kTypesKey, types.size(), spec));
  spec.kinds.reserve(types.size());
  for (const int32_t type : types) {
    if (type < 0 || type >= std::ssize(kKinds)) {
      return Status::Corruption(
          fmt::format("{}: expected types from 1 to 6, found {}", Where(file, kTypesKey), type));
    }
    spec.kinds.push_back(kKinds[type]);
  }
  return Status::Ok();
}

Status ReadScores(const GgufFile& file, VocabularySpec& spec) {
  if (!file.Has(kScoresKey)) return Status::Ok();
  KVASIR_ASSIGN_OR_RETURN(spec.scores, file.GetF32s(kScoresKey));
  return CheckCount(file, kScoresKey, spec.scores.size(), spec);
}

// Each merge is "left right"; the left part may itself start with a space.
Status ReadMerges(const GgufFile& file, VocabularySpec& spec) {
  KVASIR_ASSIGN_OR_RETURN(const auto merges, file.GetStrings(kMergesKey));
  spec.merges.reserve(merges.size());
  for (size_t i = 0; i < merges.size(); ++i) {
    const size_t space = merges[i].find(' ', 1);
    if (space == std::string_view::npos || space + 1 == merges[i].size()) {
      return Status::Corruption(
          fmt::format("{}[{}]: expected two parts with a space between, found '{}'",
                      Where(file, kMergesKey), i, Printable(merges[i])));
    }
    spec.merges.emplace_back(merges[i].substr(0, space), merges[i].substr(space + 1));
  }
  return Status::Ok();
}

// Leaves `id` alone when the key is absent. All bits set is how some files say "none".
Status ReadId(const GgufFile& file, std::string_view name, TokenId& id) {
  const std::string key = fmt::format("tokenizer.ggml.{}_token_id", name);
  if (!file.Has(key)) return Status::Ok();
  KVASIR_ASSIGN_OR_RETURN(const uint32_t value, file.GetU32(key));
  if (value >= static_cast<uint32_t>(kMaxVocabulary) && value != UINT32_MAX) {
    return Status::Corruption(
        fmt::format("{}: expected a token id, found {}", Where(file, key), value));
  }
  id = value == UINT32_MAX ? -1 : static_cast<TokenId>(value);
  return Status::Ok();
}

// SentencePiece's own defaults, for files that leave the keys out.
void GuessSpmIds(VocabularySpec& spec) {
  const auto is = [&](size_t id, TokenKind kind) {
    return id < spec.kinds.size() && spec.kinds[id] == kind;
  };
  if (is(0, TokenKind::kUnknown)) spec.unk = 0;
  if (is(1, TokenKind::kControl)) spec.bos = 1;
  if (is(2, TokenKind::kControl)) spec.eos = 2;
}

Status ReadIds(const GgufFile& file, VocabularySpec& spec) {
  if (spec.type == VocabularySpec::Type::kSpm) GuessSpmIds(spec);
  KVASIR_RETURN_IF_ERROR(ReadId(file, "bos", spec.bos));
  KVASIR_RETURN_IF_ERROR(ReadId(file, "eos", spec.eos));
  KVASIR_RETURN_IF_ERROR(ReadId(file, "eot", spec.eot));
  KVASIR_RETURN_IF_ERROR(ReadId(file, "eom", spec.eom));
  return ReadId(file, "unknown", spec.unk);
}

// The format has no place for Phi-3's rule that its chat tokens swallow the white space after
// them, so the model's name has to tell.
void AddPhi3Rules(const GgufFile& file, VocabularySpec& spec) {
  const Result<std::string_view> name = file.GetString("general.name", "");
  if (!name.ok()) return;
  std::string lower(*name);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (lower.find("phi-3") == std::string::npos && lower.find("phi3") == std::string::npos) return;
  for (size_t i = 0; i < spec.kinds.size(); ++i) {
    const TokenKind kind = spec.kinds[i];
    if (kind != TokenKind::kControl && kind != TokenKind::kUserDefined) continue;
    const std::string& text = spec.tokens[i];
    if (text == "<unk>" || text == "<s>" || text == "<|endoftext|>") continue;
    spec.added_rules.push_back({.id = static_cast<TokenId>(i), .rstrip = true});
  }
}

Result<VocabularySpec::Type> ReadType(const GgufFile& file) {
  KVASIR_ASSIGN_OR_RETURN(const std::string_view model, file.GetString(kModelKey));
  if (model == "llama") return VocabularySpec::Type::kSpm;
  if (model == "gpt2") return VocabularySpec::Type::kBpe;
  return Status::Unsupported(fmt::format("{}: expected 'llama' or 'gpt2', found '{}'",
                                         Where(file, kModelKey), Printable(model)));
}

}  // namespace

Result<VocabularySpec> VocabularyFromGguf(const GgufFile& file) {
  VocabularySpec spec;
  KVASIR_ASSIGN_OR_RETURN(spec.type, ReadType(file));
  const bool is_spm = spec.type == VocabularySpec::Type::kSpm;
  KVASIR_ASSIGN_OR_RETURN(spec.pre_name, file.GetString(kPreKey, "default"));
  KVASIR_RETURN_IF_ERROR(ReadTokens(file, spec));
  KVASIR_RETURN_IF_ERROR(ReadKinds(file, spec));
  if (is_spm) {
    KVASIR_RETURN_IF_ERROR(ReadScores(file, spec));
  } else {
    KVASIR_RETURN_IF_ERROR(ReadMerges(file, spec));
  }
  KVASIR_RETURN_IF_ERROR(ReadIds(file, spec));
  const bool adds_bos = is_spm || PreTokenizerAddsBos(spec.pre_name);
  KVASIR_ASSIGN_OR_RETURN(spec.add_bos, file.GetBool(kAddBosKey, adds_bos));
  KVASIR_ASSIGN_OR_RETURN(spec.add_space_prefix, file.GetBool(kAddSpacePrefixKey, is_spm));
  spec.add_space_prefix = spec.add_space_prefix && is_spm;
  spec.byte_fallback = is_spm;
  AddPhi3Rules(file, spec);
  return spec;
}

Result<std::unique_ptr<Tokenizer>> TokenizerFromGguf(const GgufFile& file) {
  KVASIR_ASSIGN_OR_RETURN(VocabularySpec spec, VocabularyFromGguf(file));
  Result<std::unique_ptr<Tokenizer>> tokenizer = MakeTokenizer(std::move(spec));
  if (!tokenizer.ok()) return std::move(tokenizer).status().WithContext(file.path());
  return tokenizer;
}

}  // namespace kvasir
