#include "kvasir/model/gguf_vocabulary.h"

#include <fmt/core.h>

#include <algorithm>
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

Status ReadTokens(const GgufFile& file, VocabularySpec& spec) {
  KVASIR_ASSIGN_OR_RETURN(const auto tokens, file.GetStrings(kTokensKey));
  if (tokens.size() > static_cast<size_t>(kMaxVocabulary)) {
    return Status::Corruption(fmt::format("{}: expected at most {} tokens, found {}", kTokensKey,
                                          kMaxVocabulary, tokens.size()));
  }
  spec.tokens.assign(tokens.begin(), tokens.end());
  return Status::Ok();
}

Status CheckCount(std::string_view key, size_t found, const VocabularySpec& spec) {
  if (found == spec.tokens.size()) return Status::Ok();
  return Status::Corruption(fmt::format("{}: expected {} elements, one a token, found {}", key,
                                        spec.tokens.size(), found));
}

// Values of tokenizer.ggml.token_type; 0 is "undefined", which files use for plain tokens.
Result<TokenKind> KindOf(int32_t type) {
  switch (type) {
    case 0:
    case 1:
      return TokenKind::kNormal;
    case 2:
      return TokenKind::kUnknown;
    case 3:
      return TokenKind::kControl;
    case 4:
      return TokenKind::kUserDefined;
    case 5:
      return TokenKind::kUnused;
    case 6:
      return TokenKind::kByte;
    default:
      return Status::Corruption(
          fmt::format("{}: expected a type from 1 to 6, found {}", kTypesKey, type));
  }
}

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
  KVASIR_RETURN_IF_ERROR(CheckCount(kTypesKey, types.size(), spec));
  spec.kinds.reserve(types.size());
  for (const int32_t type : types) {
    KVASIR_ASSIGN_OR_RETURN(const TokenKind kind, KindOf(type));
    spec.kinds.push_back(kind);
  }
  return Status::Ok();
}

Status ReadScores(const GgufFile& file, VocabularySpec& spec) {
  if (!file.Has(kScoresKey)) return Status::Ok();
  KVASIR_ASSIGN_OR_RETURN(spec.scores, file.GetF32s(kScoresKey));
  return CheckCount(kScoresKey, spec.scores.size(), spec);
}

// Each merge is "left right"; the left part may itself start with a space.
Status ReadMerges(const GgufFile& file, VocabularySpec& spec) {
  KVASIR_ASSIGN_OR_RETURN(const auto merges, file.GetStrings(kMergesKey));
  spec.merges.reserve(merges.size());
  for (size_t i = 0; i < merges.size(); ++i) {
    const size_t space = merges[i].find(' ', 1);
    if (space == std::string_view::npos || space + 1 == merges[i].size()) {
      return Status::Corruption(fmt::format("{}[{}]: expected two parts with a space between, found '{}'",
                                            kMergesKey, i, Printable(merges[i])));
    }
    spec.merges.emplace_back(merges[i].substr(0, space), merges[i].substr(space + 1));
  }
  return Status::Ok();
}

Status ReadId(const GgufFile& file, std::string_view name, TokenId& id) {
  const std::string key = fmt::format("tokenizer.ggml.{}_token_id", name);
  KVASIR_ASSIGN_OR_RETURN(const int64_t value,
                          [&]() -> Result<int64_t> {
                            if (!file.Has(key)) return int64_t{-1};
                            KVASIR_ASSIGN_OR_RETURN(const uint32_t raw, file.GetU32(key));
                            return static_cast<int64_t>(raw);
                          }());
  // All bits set is how some files say "none".
  if (value < 0 || value == int64_t{UINT32_MAX}) return Status::Ok();
  return value;
}

}  // namespace
}  // namespace kvasir
