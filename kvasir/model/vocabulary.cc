#include "kvasir/model/vocabulary.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <unordered_map>

#include "kvasir/model/vocabulary_tokenizer.h"

namespace kvasir {
namespace {

// How published vocabularies spell the end of a turn or of a message; many files do not list them.
constexpr std::string_view kEndOfTurn[] = {
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|EOT|>",
    "<EOT>",
    "[EOT]",
    "<end_of_utterance>",
    // DeepSeek writes it with full-width bars and U+2581.
    "<\xEF\xBD\x9C"
    "end\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>",
};
constexpr std::string_view kEndOfMessage = "<|eom_id|>";

Status CheckSizes(const VocabularySpec& spec) {
  const size_t n = spec.tokens.size();
  if (n == 0) return Status::Corruption("vocabulary: expected tokens, found none");
  if (n > static_cast<size_t>(kMaxVocabulary)) {
    return Status::Corruption(
        fmt::format("vocabulary: expected at most {} tokens, found {}", kMaxVocabulary, n));
  }
  if (!spec.scores.empty() && spec.scores.size() != n) {
    return Status::Corruption(
        fmt::format("vocabulary: expected {} scores, found {}", n, spec.scores.size()));
  }
  if (!spec.kinds.empty() && spec.kinds.size() != n) {
    return Status::Corruption(
        fmt::format("vocabulary: expected {} token kinds, found {}", n, spec.kinds.size()));
  }
  return Status::Ok();
}

Status CheckId(std::string_view name, TokenId id, const VocabularySpec& spec) {
  if (id >= -1 && id < static_cast<int64_t>(spec.tokens.size())) return Status::Ok();
  return Status::Corruption(fmt::format("vocabulary: {}: expected an id below {}, found {}", name,
                                        spec.tokens.size(), id));
}

Status CheckIds(const VocabularySpec& spec) {
  KVASIR_RETURN_IF_ERROR(CheckId("bos", spec.bos, spec));
  KVASIR_RETURN_IF_ERROR(CheckId("eos", spec.eos, spec));
  KVASIR_RETURN_IF_ERROR(CheckId("eot", spec.eot, spec));
  KVASIR_RETURN_IF_ERROR(CheckId("eom", spec.eom, spec));
  KVASIR_RETURN_IF_ERROR(CheckId("unk", spec.unk, spec));
  for (const TokenId id : spec.eog) KVASIR_RETURN_IF_ERROR(CheckId("eog", id, spec));
  for (const AddedTokenRule& rule : spec.added_rules) {
    KVASIR_RETURN_IF_ERROR(CheckId("added token", rule.id, spec));
  }
  return Status::Ok();
}

// Adds what the tokens' spellings say about the end of generation, and gathers it in `eog`.
void CompleteEndOfGeneration(VocabularySpec& spec) {
  for (size_t i = 0; i < spec.tokens.size(); ++i) {
    const auto id = static_cast<TokenId>(i);
    if (spec.kinds[i] != TokenKind::kControl && spec.kinds[i] != TokenKind::kUserDefined) continue;
    const std::string& text = spec.tokens[i];
    if (std::find(std::begin(kEndOfTurn), std::end(kEndOfTurn), text) != std::end(kEndOfTurn)) {
      spec.eog.push_back(id);
    }
    if (spec.eom < 0 && text == kEndOfMessage) spec.eom = id;
  }
  for (const TokenId id : {spec.eos, spec.eot, spec.eom}) {
    if (id >= 0) spec.eog.push_back(id);
  }
}

TextPipeline SpmPipeline(bool add_space_prefix) {
  TextPipeline pipeline;
  if (add_space_prefix) {
    pipeline.normalize.push_back({.kind = NormalizeStep::Kind::kPrepend, .to = " "});
  }
  pipeline.normalize.push_back(
      {.kind = NormalizeStep::Kind::kReplace, .from = " ", .to = "\xE2\x96\x81"});
  return pipeline;
}

Status CompletePipeline(VocabularySpec& spec) {
  if (spec.pipeline) return Status::Ok();
  if (spec.type == VocabularySpec::Type::kSpm) {
    spec.pipeline = SpmPipeline(spec.add_space_prefix);
    return Status::Ok();
  }
  if (spec.pre_name.empty()) spec.pre_name = "default";
  KVASIR_ASSIGN_OR_RETURN(NamedPreTokenizer named, FindPreTokenizer(spec.pre_name));
  spec.pipeline = std::move(named.pipeline);
  spec.ignore_merges = spec.ignore_merges || named.ignore_merges;
  spec.byte_level = true;
  return Status::Ok();
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> MakeTokenizer(VocabularySpec spec) {
  KVASIR_RETURN_IF_ERROR(CheckSizes(spec));
  KVASIR_RETURN_IF_ERROR(CheckIds(spec));
  spec.kinds.resize(spec.tokens.size(), TokenKind::kNormal);
  CompleteEndOfGeneration(spec);
  KVASIR_RETURN_IF_ERROR(CompletePipeline(spec));
  return VocabularyTokenizer::Make(std::move(spec));
}

}  // namespace kvasir
