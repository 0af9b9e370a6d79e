#include "kvasir/policy/part.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <charconv>
#include <cmath>

#include "kvasir/core/edit_distance.h"

namespace kvasir {

#define KVASIR_PART(kind, name) const PartInfo& kind##_##name##_part();
#include "kvasir/policy/parts.def"
#undef KVASIR_PART

namespace {

constexpr std::string_view kKindNames[kPartKinds] = {
    "score",    "reduce",   "shape", "heads", "budget",  "protect", "keep",    "disposition",
    "position", "schedule", "k",     "v",     "prefill", "select",  "overflow"};

bool ParseNumber(std::string_view text, double* value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return error == std::errc() && end == text.data() + text.size() && std::isfinite(*value);
}

Status BadValue(std::string_view owner, const ParamInfo& param, std::string_view found) {
  std::string expected;
  switch (param.type) {
    case ParamType::kInt:
      expected = fmt::format("a whole number from {} to {}", param.min, param.max);
      break;
    case ParamType::kReal:
      expected = fmt::format("a number from {} to {}", param.min, param.max);
      break;
    case ParamType::kFlag: expected = "0 or 1"; break;
    case ParamType::kAmount:
      expected = fmt::format("{} to {} tokens or a share such as 25%", param.min, param.max);
      break;
    case ParamType::kText: expected = "text"; break;
  }
  return Status::InvalidArgument(
      fmt::format("{}: {}: expected {}, found '{}'", owner, param.name, expected, found));
}

// Canonical text of a value, or an error.
Result<std::string> CheckValue(std::string_view owner, const ParamInfo& param,
                               std::string_view text) {
  if (param.type == ParamType::kText) {
    if (text.empty()) return BadValue(owner, param, text);
    return std::string(text);
  }
  const bool share = param.type == ParamType::kAmount && text.ends_with('%');
  double value = 0;
  if (!ParseNumber(share ? text.substr(0, text.size() - 1) : text, &value)) {
    return BadValue(owner, param, text);
  }
  const double min = share ? 0 : param.min;
  const double max = share ? 100 : param.type == ParamType::kFlag ? 1 : param.max;
  const bool whole = !share && param.type != ParamType::kReal;
  if (value < min || value > max || (whole && value != std::floor(value))) {
    return BadValue(owner, param, text);
  }
  return fmt::format("{}{}", value, share ? "%" : "");
}

std::string ParamList(std::span<const ParamInfo> params) {
  if (params.empty()) return "it takes none";
  std::string names;
  for (const ParamInfo& param : params) {
    if (!names.empty()) names += ", ";
    names += param.name;
  }
  return "it takes " + names;
}

}  // namespace

std::string_view PartKindName(PartKind kind) { return kKindNames[static_cast<size_t>(kind)]; }

std::string NeedNames(uint32_t needs) {
  static constexpr std::string_view kNames[] = {
      "window rows", "column sums", "keys",      "values",
      "replay",      "all layers",  "token ids", "output projections"};
  std::string names;
  for (size_t i = 0; i < std::size(kNames); ++i) {
    if ((needs >> i & 1) == 0) continue;
    if (!names.empty()) names += ", ";
    names += kNames[i];
  }
  return names.empty() ? "nothing" : names;
}

Result<PartArgs> PartArgs::Make(std::string_view owner, std::span<const ParamInfo> params,
                                const WrittenArgs& written) {
  PartArgs args;
  args.params_ = params;
  args.text_.resize(params.size());
  std::vector<bool> given(params.size());
  size_t next = 0;  // of the positional values
  for (const auto& [name, text] : written) {
    const std::string& wanted = name.empty() ? text : name;
    size_t i = args.IndexOf(wanted);
    std::string_view value = text;
    if (name.empty()) {
      if (i < given.size() && params[i].type == ParamType::kFlag) {
        value = "1";
      } else {
        while (next < given.size() && given[next]) ++next;
        i = next;
      }
    }
    if (i >= given.size()) {
      return Status::InvalidArgument(
          fmt::format("{}: no parameter for '{}'; {}", owner, wanted, ParamList(params)));
    }
    if (given[i]) {
      return Status::InvalidArgument(fmt::format("{}: {} is given twice", owner, params[i].name));
    }
    given[i] = true;
    KVASIR_ASSIGN_OR_RETURN(args.text_[i], CheckValue(owner, params[i], value));
  }
  for (size_t i = 0; i < given.size(); ++i) {
    if (given[i]) continue;
    if (params[i].default_text.empty()) {
      return Status::InvalidArgument(
          fmt::format("{}: {} is missing: {}", owner, params[i].name, params[i].help));
    }
    args.text_[i] = params[i].default_text;
  }
  return args;
}

WrittenArgs PartArgs::Given() const {
  WrittenArgs given;
  for (size_t i = 0; i < text_.size(); ++i) {
    if (text_[i] != params_[i].default_text) given.emplace_back(params_[i].name, text_[i]);
  }
  return given;
}

size_t PartArgs::IndexOf(std::string_view name) const {
  size_t i = 0;
  while (i < params_.size() && params_[i].name != name) ++i;
  return i;
}

const std::string& PartArgs::Text(std::string_view name) const {
  const size_t i = IndexOf(name);
  assert(i < text_.size());
  return text_[i];
}

double PartArgs::Real(std::string_view name) const {
  double value = 0;
  ParseNumber(Text(name), &value);
  return value;
}

int64_t PartArgs::Int(std::string_view name) const { return static_cast<int64_t>(Real(name)); }

Amount PartArgs::AmountOf(std::string_view name) const {
  std::string_view text = Text(name);
  double value = 0;
  if (!text.ends_with('%')) return {Int(name), 0};
  ParseNumber(text.substr(0, text.size() - 1), &value);
  return {-1, value / 100};
}

std::span<const PartInfo* const> Parts() {
  static const PartInfo* const kParts[] = {
#define KVASIR_PART(kind, name) &kind##_##name##_part(),
#include "kvasir/policy/parts.def"
#undef KVASIR_PART
  };
  return kParts;
}

const PartInfo* FindPart(PartKind kind, std::string_view name) {
  for (const PartInfo* info : Parts()) {
    if (info->kind == kind && info->name == name) return info;
  }
  return nullptr;
}

std::vector<std::string_view> PartNames(PartKind kind) {
  std::vector<std::string_view> names;
  for (const PartInfo* info : Parts()) {
    if (info->kind == kind) names.push_back(info->name);
  }
  return names;
}

std::string NearestName(std::string_view name, std::span<const std::string_view> names) {
  size_t best = std::max<size_t>(2, name.size() / 2) + 1;
  std::string nearest;
  for (std::string_view other : names) {
    const size_t distance = EditDistance(name, other);
    if (distance < best) {
      best = distance;
      nearest = other;
    }
  }
  return nearest;
}

}  // namespace kvasir
