#include "kvasir/model/json_pipeline.h"

#include <fmt/core.h>

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>
#include <utility>

#include "kvasir/model/json_member.h"

namespace kvasir {
namespace {

using nlohmann::json;

constexpr int kMaxDepth = 8;
constexpr size_t kMaxSteps = 64;
// How much longer all replacements together may make a text.
constexpr size_t kMaxGrowth = 64;

constexpr const char* kGpt2Pattern =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

Status Unknown(std::string_view where, std::string_view type) {
  return Status::Unsupported(fmt::format("{}.type: unknown '{}'", where, type));
}

// The members of a "Sequence", or the step itself.
Result<std::vector<const json*>> Flatten(const json& step, const char* members,
                                         std::string_view where, int depth) {
  if (depth > kMaxDepth) {
    return Status::Corruption(
        fmt::format("{}: sequences nested more than {} deep", where, kMaxDepth));
  }
  KVASIR_ASSIGN_OR_RETURN(const std::string type, JsonString(step, "type", "", where));
  if (type != "Sequence") return std::vector<const json*>{&step};
  const json* list = JsonMember(step, members);
  if (list == nullptr || !list->is_array()) {
    return Status::Corruption(fmt::format("{}.{}: expected an array", where, members));
  }
  std::vector<const json*> flat;
  for (const json& inner : *list) {
    KVASIR_ASSIGN_OR_RETURN(const auto steps, Flatten(inner, members, where, depth + 1));
    flat.insert(flat.end(), steps.begin(), steps.end());
    if (flat.size() > kMaxSteps) {
      return Status::Corruption(fmt::format("{}: more than {} steps", where, kMaxSteps));
    }
  }
  return flat;
}

std::string Quoted(std::string_view literal) {
  std::string pattern;
  for (const char c : literal) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80 && std::isalnum(byte) == 0) pattern += '\\';
    pattern += c;
  }
  return pattern;
}

// {"String": ...} or {"Regex": ...} as a regular expression.
Result<std::string> PatternOf(const json& step, std::string_view where) {
  const json* pattern = JsonMember(step, "pattern");
  if (pattern != nullptr) {
    const json* literal = JsonMember(*pattern, "String");
    if (literal != nullptr && literal->is_string()) return Quoted(literal->get<std::string>());
    const json* regex = JsonMember(*pattern, "Regex");
    if (regex != nullptr && regex->is_string()) return regex->get<std::string>();
  }
  return Status::Corruption(fmt::format("{}.pattern: expected a String or a Regex", where));
}

// --- normalizer ---------------------------------------------------------------------------------

Result<NormalizeStep> ReplaceFromJson(const json& step, std::string_view where) {
  const json* pattern = JsonMember(step, "pattern");
  const json* literal = pattern == nullptr ? nullptr : JsonMember(*pattern, "String");
  if (literal == nullptr || !literal->is_string() || literal->get<std::string>().empty()) {
    return Status::Unsupported(
        fmt::format("{}.pattern: expected a String that is not empty", where));
  }
  KVASIR_ASSIGN_OR_RETURN(std::string content, JsonString(step, "content", "", where));
  return NormalizeStep{NormalizeStep::Kind::kReplace, literal->get<std::string>(),
                       std::move(content)};
}

Result<NormalizeStep> NormalizeStepFromJson(const json& step, std::string_view where) {
  using Kind = NormalizeStep::Kind;
  KVASIR_ASSIGN_OR_RETURN(const std::string type, JsonString(step, "type", "", where));
  if (type == "NFC") return NormalizeStep{Kind::kNfc};
  if (type == "NFD") return NormalizeStep{Kind::kNfd};
  if (type == "NFKC") return NormalizeStep{Kind::kNfkc};
  if (type == "NFKD") return NormalizeStep{Kind::kNfkd};
  if (type == "Replace") return ReplaceFromJson(step, where);
  if (type != "Prepend") return Unknown(where, type);
  KVASIR_ASSIGN_OR_RETURN(std::string text, JsonString(step, "prepend", "", where));
  return NormalizeStep{Kind::kPrepend, "", std::move(text)};
}

Status CheckGrowth(const std::vector<NormalizeStep>& steps, std::string_view where) {
  size_t growth = 1;
  for (const NormalizeStep& step : steps) {
    if (step.kind == NormalizeStep::Kind::kReplace) {
      growth *= std::clamp<size_t>(step.to.size() / step.from.size(), 1, kMaxGrowth + 1);
    }
    if (growth > kMaxGrowth || step.to.size() > 1024) {
      return Status::Unsupported(
          fmt::format("{}: replacements make a text more than {} times longer", where, kMaxGrowth));
    }
  }
  return Status::Ok();
}

Status ReadNormalizer(const json& root, TextPipeline& pipeline) {
  constexpr std::string_view kWhere = "tokenizer.json: normalizer";
  const json* normalizer = JsonMember(root, "normalizer");
  if (normalizer == nullptr) return Status::Ok();
  KVASIR_ASSIGN_OR_RETURN(const auto steps, Flatten(*normalizer, "normalizers", kWhere, 0));
  for (const json* json_step : steps) {
    KVASIR_ASSIGN_OR_RETURN(NormalizeStep step, NormalizeStepFromJson(*json_step, kWhere));
    pipeline.normalize.push_back(std::move(step));
  }
  return CheckGrowth(pipeline.normalize, kWhere);
}

// --- pre_tokenizer ------------------------------------------------------------------------------

Result<SplitStep::Behavior> BehaviorOf(const json& step, std::string_view where) {
  using Behavior = SplitStep::Behavior;
  KVASIR_ASSIGN_OR_RETURN(const std::string name, JsonString(step, "behavior", "Isolated", where));
  if (name == "Isolated") return Behavior::kIsolated;
  if (name == "Removed") return Behavior::kRemoved;
  if (name == "MergedWithPrevious") return Behavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return Behavior::kMergedWithNext;
  if (name == "Contiguous") return Behavior::kContiguous;
  return Status::Unsupported(fmt::format("{}.behavior: unknown '{}'", where, name));
}

Status AddRegex(std::string_view pattern, SplitStep::Behavior behavior, bool invert,
                std::string_view where, TextPipeline& pipeline) {
  Result<SplitStep> step = IsolatingStep(pattern);
  if (!step.ok()) return std::move(step).status().WithContext(where);
  step->behavior = behavior;
  step->invert = invert;
  pipeline.split.push_back(std::move(*step));
  return Status::Ok();
}

Status AddIsolating(std::string_view pattern, std::string_view where, TextPipeline& pipeline) {
  return AddRegex(pattern, SplitStep::Behavior::kIsolated, false, where, pipeline);
}

Status AddByteLevel(const json& step, std::string_view where, TextPipeline& pipeline) {
  const bool again = std::any_of(pipeline.split.begin(), pipeline.split.end(),
                                 [](const auto& s) { return s.kind == SplitStep::Kind::kBytes; });
  if (again) return Status::Unsupported(fmt::format("{}: ByteLevel twice", where));
  KVASIR_ASSIGN_OR_RETURN(const bool prefix, JsonBool(step, "add_prefix_space", true, where));
  KVASIR_ASSIGN_OR_RETURN(const bool use_regex, JsonBool(step, "use_regex", true, where));
  if (prefix) pipeline.split.push_back({.kind = SplitStep::Kind::kSpacePrefix});
  if (use_regex) KVASIR_RETURN_IF_ERROR(AddIsolating(kGpt2Pattern, where, pipeline));
  pipeline.split.push_back({.kind = SplitStep::Kind::kBytes});
  return Status::Ok();
}

// Before prepend_scheme there was add_prefix_space.
Result<std::string> PrependScheme(const json& step, std::string_view where) {
  KVASIR_ASSIGN_OR_RETURN(const bool prefix, JsonBool(step, "add_prefix_space", true, where));
  return JsonString(step, "prepend_scheme", prefix ? "always" : "never", where);
}

Status AddMetaspace(const json& step, std::string_view where, TextPipeline& pipeline) {
  KVASIR_ASSIGN_OR_RETURN(const std::string marker,
                          JsonString(step, "replacement", "\xE2\x96\x81", where));
  if (marker.empty() || marker.size() > 4) {
    return Status::Corruption(fmt::format("{}.replacement: expected one character", where));
  }
  KVASIR_ASSIGN_OR_RETURN(const std::string scheme, PrependScheme(step, where));
  pipeline.split.push_back({.kind = SplitStep::Kind::kReplaceSpaces, .marker = marker});
  if (scheme == "always") {
    pipeline.split.push_back({.kind = SplitStep::Kind::kSpacePrefix, .marker = marker});
  } else if (scheme == "first") {
    pipeline.split.push_back({.kind = SplitStep::Kind::kTextSpacePrefix, .marker = marker});
  } else if (scheme != "never") {
    return Status::Unsupported(fmt::format("{}.prepend_scheme: unknown '{}'", where, scheme));
  }
  KVASIR_ASSIGN_OR_RETURN(const bool split, JsonBool(step, "split", true, where));
  if (!split) return Status::Ok();
  return AddRegex(Quoted(marker), SplitStep::Behavior::kMergedWithNext, false, where, pipeline);
}

Status AddSplit(const json& step, std::string_view where, TextPipeline& pipeline) {
  KVASIR_ASSIGN_OR_RETURN(const std::string pattern, PatternOf(step, where));
  KVASIR_ASSIGN_OR_RETURN(const SplitStep::Behavior behavior, BehaviorOf(step, where));
  KVASIR_ASSIGN_OR_RETURN(const bool invert, JsonBool(step, "invert", false, where));
  return AddRegex(pattern, behavior, invert, where, pipeline);
}

Status AddSplitStep(const json& step, std::string_view where, TextPipeline& pipeline) {
  using Behavior = SplitStep::Behavior;
  KVASIR_ASSIGN_OR_RETURN(const std::string type, JsonString(step, "type", "", where));
  if (type == "ByteLevel") return AddByteLevel(step, where, pipeline);
  if (type == "Metaspace") return AddMetaspace(step, where, pipeline);
  if (type == "Split") return AddSplit(step, where, pipeline);
  if (type == "Digits") {
    KVASIR_ASSIGN_OR_RETURN(const bool single, JsonBool(step, "individual_digits", false, where));
    return AddIsolating(single ? "\\p{N}" : "\\p{N}+", where, pipeline);
  }
  if (type == "Punctuation") {
    KVASIR_ASSIGN_OR_RETURN(const Behavior behavior, BehaviorOf(step, where));
    return AddRegex("[\\p{P}$+<=>^`|~]", behavior, false, where, pipeline);
  }
  if (type == "Whitespace") {
    return AddRegex("\\w+|[^\\w\\s]+", Behavior::kRemoved, true, where, pipeline);
  }
  if (type == "WhitespaceSplit") return AddRegex("\\s", Behavior::kRemoved, false, where, pipeline);
  return Unknown(where, type);
}

Status ReadPreTokenizer(const json& root, TextPipeline& pipeline) {
  constexpr std::string_view kWhere = "tokenizer.json: pre_tokenizer";
  const json* pre = JsonMember(root, "pre_tokenizer");
  if (pre == nullptr) return Status::Ok();
  KVASIR_ASSIGN_OR_RETURN(const auto steps, Flatten(*pre, "pretokenizers", kWhere, 0));
  for (const json* step : steps) KVASIR_RETURN_IF_ERROR(AddSplitStep(*step, kWhere, pipeline));
  return Status::Ok();
}

}  // namespace

Result<TextPipeline> PipelineFromJson(const json& root) {
  TextPipeline pipeline;
  KVASIR_RETURN_IF_ERROR(ReadNormalizer(root, pipeline));
  KVASIR_RETURN_IF_ERROR(ReadPreTokenizer(root, pipeline));
  return pipeline;
}

bool DecoderDropsLeadingSpace(const json& root) {
  constexpr std::string_view kWhere = "tokenizer.json: decoder";
  const json* decoder = JsonMember(root, "decoder");
  if (decoder == nullptr) return false;
  const auto steps = Flatten(*decoder, "decoders", kWhere, 0);
  if (!steps.ok()) return false;
  return std::any_of(steps->begin(), steps->end(), [&](const json* step) {
    const Result<std::string> type = JsonString(*step, "type", "", kWhere);
    if (type.ok() && *type == "Strip") {
      const json* start = JsonMember(*step, "start");
      const Result<std::string> content = JsonString(*step, "content", " ", kWhere);
      return content.ok() && *content == " " && start != nullptr && start->is_number_unsigned() &&
             start->get<uint64_t>() > 0;
    }
    if (!type.ok() || *type != "Metaspace") return false;
    const Result<std::string> scheme = PrependScheme(*step, kWhere);
    return scheme.ok() && *scheme != "never";
  });
}

Result<std::string> LeadingSpecialToken(const json& root) {
  constexpr std::string_view kWhere = "tokenizer.json: post_processor";
  const json* post = JsonMember(root, "post_processor");
  if (post == nullptr) return std::string();
  KVASIR_ASSIGN_OR_RETURN(const auto steps, Flatten(*post, "processors", kWhere, 0));
  std::string leading;
  for (const json* step : steps) {
    KVASIR_ASSIGN_OR_RETURN(const std::string type, JsonString(*step, "type", "", kWhere));
    if (type == "ByteLevel") continue;
    if (type != "TemplateProcessing") return Unknown(kWhere, type);
    const json* single = JsonMember(*step, "single");
    if (single == nullptr || !single->is_array()) {
      return Status::Corruption(fmt::format("{}.single: expected an array", kWhere));
    }
    const json* token = single->empty() ? nullptr : JsonMember(single->front(), "SpecialToken");
    if (token == nullptr) continue;
    KVASIR_ASSIGN_OR_RETURN(leading, JsonString(*token, "id", "", kWhere));
  }
  return leading;
}

}  // namespace kvasir
