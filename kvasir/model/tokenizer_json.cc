#include "kvasir/model/tokenizer_json.h"

#include <fmt/core.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "kvasir/core/mapped_file.h"
#include "kvasir/model/json_file.h"
#include "kvasir/model/json_member.h"
#include "kvasir/model/json_pipeline.h"
#include "kvasir/model/token_index.h"

namespace kvasir {
namespace {

using nlohmann::json;

constexpr std::string_view kModel = "tokenizer.json: model";
constexpr std::string_view kAdded = "tokenizer.json: added_tokens";

Result<json> ParseOptional(std::string_view text, const std::string& name) {
  if (text.empty()) return json::object();
  return ParseSortedJsonObject(text, name);
}

// Places a token; ids that nothing names stay empty and unused.
Status Place(std::string_view text, TokenId id, TokenKind kind, std::string_view where,
             VocabularySpec& spec) {
  const auto at = static_cast<size_t>(id);
  if (at >= spec.tokens.size()) {
    spec.tokens.resize(at + 1);
    spec.kinds.resize(at + 1, TokenKind::kUnused);
  }
  if (!spec.tokens[at].empty() && spec.tokens[at] != text) {
    return Status::Corruption(
        fmt::format("{}: id {} is both '{}' and '{}'", where, id, spec.tokens[at], text));
  }
  spec.tokens[at] = text;
  spec.kinds[at] = kind;
  return Status::Ok();
}

Status ReadVocabulary(const json& model, VocabularySpec& spec) {
  const json* vocab = JsonMember(model, "vocab");
  if (vocab == nullptr || !vocab->is_object()) {
    return Status::Corruption(fmt::format("{}.vocab: expected an object", kModel));
  }
  for (const auto& [text, value] : vocab->items()) {
    KVASIR_ASSIGN_OR_RETURN(const TokenId id,
                            JsonId(value, kMaxVocabulary, "tokenizer.json: model.vocab"));
    const bool is_byte = spec.byte_fallback && ParseByteToken(text) >= 0;
    KVASIR_RETURN_IF_ERROR(
        Place(text, id, is_byte ? TokenKind::kByte : TokenKind::kNormal, kModel, spec));
  }
  return Status::Ok();
}

// "left right", or the pair as an array of two.
Result<std::pair<std::string, std::string>> MergeFromJson(const json& merge, size_t index) {
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
    return std::pair(merge[0].get<std::string>(), merge[1].get<std::string>());
  }
  if (merge.is_string()) {
    const auto& text = merge.get_ref<const std::string&>();
    const size_t space = text.find(' ');
    if (space != std::string::npos && text.find(' ', space + 1) == std::string::npos) {
      return std::pair(text.substr(0, space), text.substr(space + 1));
    }
  }
  return Status::Corruption(fmt::format("{}.merges[{}]: expected two parts", kModel, index));
}

Status ReadMerges(const json& model, VocabularySpec& spec) {
  const json* merges = JsonMember(model, "merges");
  if (merges == nullptr || !merges->is_array()) {
    return Status::Corruption(fmt::format("{}.merges: expected an array", kModel));
  }
  spec.merges.reserve(merges->size());
  for (size_t i = 0; i < merges->size(); ++i) {
    KVASIR_ASSIGN_OR_RETURN(auto merge, MergeFromJson((*merges)[i], i));
    spec.merges.push_back(std::move(merge));
  }
  return Status::Ok();
}

Status CheckModelType(const json& model) {
  KVASIR_ASSIGN_OR_RETURN(const std::string type, JsonString(model, "type", "BPE", kModel));
  if (type != "BPE") {
    return Status::Unsupported(fmt::format("{}.type: expected 'BPE', found '{}'", kModel, type));
  }
  for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    KVASIR_ASSIGN_OR_RETURN(const std::string value, JsonString(model, affix, "", kModel));
    if (!value.empty()) {
      return Status::Unsupported(
          fmt::format("{}.{}: expected none, found '{}'", kModel, affix, value));
    }
  }
  return Status::Ok();
}

// The first token spelled `text`, or -1.
TokenId IdOf(std::string_view text, const VocabularySpec& spec) {
  if (text.empty()) return -1;
  const auto found = std::find(spec.tokens.begin(), spec.tokens.end(), text);
  return found == spec.tokens.end() ? -1 : static_cast<TokenId>(found - spec.tokens.begin());
}

Status ReadModel(const json& root, VocabularySpec& spec) {
  const json* model = JsonMember(root, "model");
  if (model == nullptr) return Status::Corruption(fmt::format("{}: absent", kModel));
  KVASIR_RETURN_IF_ERROR(CheckModelType(*model));
  KVASIR_ASSIGN_OR_RETURN(spec.byte_fallback, JsonBool(*model, "byte_fallback", false, kModel));
  KVASIR_ASSIGN_OR_RETURN(spec.ignore_merges, JsonBool(*model, "ignore_merges", false, kModel));
  KVASIR_ASSIGN_OR_RETURN(spec.fuse_unknown, JsonBool(*model, "fuse_unk", false, kModel));
  KVASIR_RETURN_IF_ERROR(ReadVocabulary(*model, spec));
  KVASIR_RETURN_IF_ERROR(ReadMerges(*model, spec));
  KVASIR_ASSIGN_OR_RETURN(const std::string unknown, JsonString(*model, "unk_token", "", kModel));
  spec.unk = IdOf(unknown, spec);
  return Status::Ok();
}

Status ReadAddedToken(const json& token, VocabularySpec& spec) {
  const json* id_field = JsonMember(token, "id");
  if (id_field == nullptr) return Status::Corruption(fmt::format("{}.id: absent", kAdded));
  AddedTokenRule rule;
  KVASIR_ASSIGN_OR_RETURN(rule.id,
                          JsonId(*id_field, kMaxVocabulary, "tokenizer.json: added_tokens.id"));
  KVASIR_ASSIGN_OR_RETURN(const std::string text, JsonString(token, "content", "", kAdded));
  KVASIR_ASSIGN_OR_RETURN(const bool special, JsonBool(token, "special", false, kAdded));
  KVASIR_ASSIGN_OR_RETURN(rule.lstrip, JsonBool(token, "lstrip", false, kAdded));
  KVASIR_ASSIGN_OR_RETURN(rule.rstrip, JsonBool(token, "rstrip", false, kAdded));
  KVASIR_ASSIGN_OR_RETURN(rule.normalized, JsonBool(token, "normalized", !special, kAdded));
  KVASIR_ASSIGN_OR_RETURN(const bool single_word, JsonBool(token, "single_word", false, kAdded));
  if (single_word) {
    return Status::Unsupported(fmt::format("{}: '{}' has single_word", kAdded, text));
  }
  spec.added_rules.push_back(rule);
  return Place(text, rule.id, special ? TokenKind::kControl : TokenKind::kUserDefined, kAdded,
               spec);
}

Status ReadAddedTokens(const json& root, VocabularySpec& spec) {
  const json* added = JsonMember(root, "added_tokens");
  if (added == nullptr) return Status::Ok();
  if (!added->is_array()) return Status::Corruption(fmt::format("{}: expected an array", kAdded));
  for (const json& token : *added) KVASIR_RETURN_IF_ERROR(ReadAddedToken(token, spec));
  return Status::Ok();
}

// "bos_token": either the text or an object with its "content".
Result<std::string> ConfiguredToken(const json& config, const char* key) {
  const json* value = JsonMember(config, key);
  if (value == nullptr) return std::string();
  if (value->is_object()) return JsonString(*value, "content", "", "tokenizer_config.json");
  return JsonString(config, key, "", "tokenizer_config.json");
}

Status ReadBos(const json& root, const json& config, VocabularySpec& spec) {
  KVASIR_ASSIGN_OR_RETURN(const std::string leading, LeadingSpecialToken(root));
  KVASIR_ASSIGN_OR_RETURN(const std::string configured, ConfiguredToken(config, "bos_token"));
  spec.bos = IdOf(configured.empty() ? leading : configured, spec);
  KVASIR_ASSIGN_OR_RETURN(
      spec.add_bos, JsonBool(config, "add_bos_token", !leading.empty(), "tokenizer_config.json"));
  return Status::Ok();
}

// "eos_token_id": an id or a list of them.
Status ReadEosIds(const json& config, std::string_view where, VocabularySpec& spec) {
  const json* value = JsonMember(config, "eos_token_id");
  if (value == nullptr) return Status::Ok();
  const size_t n = value->is_array() ? value->size() : 1;
  for (size_t i = 0; i < n; ++i) {
    const json& item = value->is_array() ? (*value)[i] : *value;
    KVASIR_ASSIGN_OR_RETURN(const TokenId id, JsonId(item, kMaxVocabulary, where));
    // Folders of cut-down models keep ids of the vocabulary they were cut from.
    if (static_cast<size_t>(id) < spec.tokens.size()) spec.eog.push_back(id);
  }
  return Status::Ok();
}

}  // namespace

Result<VocabularySpec> VocabularyFromJson(const TokenizerFiles& files) {
  KVASIR_ASSIGN_OR_RETURN(const json root,
                          ParseSortedJsonObject(files.tokenizer, "tokenizer.json"));
  KVASIR_ASSIGN_OR_RETURN(const json config,
                          ParseOptional(files.tokenizer_config, "tokenizer_config.json"));
  KVASIR_ASSIGN_OR_RETURN(const json generation,
                          ParseOptional(files.generation_config, "generation_config.json"));
  KVASIR_ASSIGN_OR_RETURN(const json model_config, ParseOptional(files.config, "config.json"));

  VocabularySpec spec;
  spec.type = VocabularySpec::Type::kBpe;
  spec.pre_name = "tokenizer.json";
  KVASIR_RETURN_IF_ERROR(ReadModel(root, spec));
  KVASIR_RETURN_IF_ERROR(ReadAddedTokens(root, spec));
  if (spec.unk >= 0) spec.kinds[spec.unk] = TokenKind::kUnknown;
  KVASIR_ASSIGN_OR_RETURN(spec.pipeline, PipelineFromJson(root));
  spec.byte_level = std::any_of(spec.pipeline->split.begin(), spec.pipeline->split.end(),
                                [](const auto& s) { return s.kind == SplitStep::Kind::kBytes; });
  spec.add_space_prefix = DecoderDropsLeadingSpace(root);
  KVASIR_RETURN_IF_ERROR(ReadBos(root, config, spec));
  KVASIR_ASSIGN_OR_RETURN(const std::string eos, ConfiguredToken(config, "eos_token"));
  spec.eos = IdOf(eos, spec);
  KVASIR_RETURN_IF_ERROR(ReadEosIds(generation, "generation_config.json: eos_token_id", spec));
  KVASIR_RETURN_IF_ERROR(ReadEosIds(model_config, "config.json: eos_token_id", spec));
  if (spec.eos < 0 && !spec.eog.empty()) spec.eos = spec.eog.front();
  return spec;
}

Result<std::unique_ptr<Tokenizer>> TokenizerFromJson(const std::string& folder) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  const fs::path base =
      fs::is_directory(folder, ignored) ? fs::path(folder) : fs::path(folder).parent_path();
  KVASIR_ASSIGN_OR_RETURN(
      const std::string tokenizer,
      ReadFile(fs::is_directory(folder, ignored) ? (base / "tokenizer.json").string() : folder));
  std::string beside[3];
  const char* const names[3] = {"tokenizer_config.json", "generation_config.json", "config.json"};
  for (int i = 0; i < 3; ++i) {
    Result<std::string> text = ReadFile((base / names[i]).string());
    if (text.ok()) {
      beside[i] = std::move(*text);
    } else if (text.status().code() != StatusCode::kNotFound) {
      return std::move(text).status();
    }
  }
  Result<VocabularySpec> spec = VocabularyFromJson({tokenizer, beside[0], beside[1], beside[2]});
  if (!spec.ok()) return std::move(spec).status().WithContext(folder);
  Result<std::unique_ptr<Tokenizer>> made = MakeTokenizer(std::move(*spec));
  if (!made.ok()) return std::move(made).status().WithContext(folder);
  return made;
}

}  // namespace kvasir
