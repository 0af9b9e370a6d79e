#include "kvasir/policy/selectors/registry.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <charconv>

#include "kvasir/core/join.h"
#include "kvasir/policy/selectors/selector_values.h"

namespace kvasir {

#define KVASIR_SELECTOR(name) const SelectorInfo& name##_selector();
#include "kvasir/policy/selectors/selectors.def"
#undef KVASIR_SELECTOR

namespace {

bool ParseInt(std::string_view text, int64_t* value) {
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, *value);
  return error == std::errc() && stop == end && !text.empty();
}

bool IsChoice(std::string_view text, std::string_view choices) {
  while (!choices.empty()) {
    const size_t bar = std::min(choices.find('|'), choices.size());
    if (text == choices.substr(0, bar)) return true;
    choices.remove_prefix(std::min(bar + 1, choices.size()));
  }
  return false;
}

Status CheckValue(const SelectorInfo& info, const SelectorParam& param, std::string_view text) {
  if (param.is_number()) {
    int64_t value = 0;
    if (ParseInt(text, &value) && static_cast<double>(value) >= param.min &&
        static_cast<double>(value) <= param.max) {
      return Status::Ok();
    }
    return Status::InvalidArgument(
        fmt::format("{}: {}: expected a whole number from {} to {}, found '{}'", info.name,
                    param.name, param.min, param.max, text));
  }
  if (param.choices.empty() || IsChoice(text, param.choices)) return Status::Ok();
  return Status::InvalidArgument(
      fmt::format("{}: {}: expected {}, found '{}'", info.name, param.name, param.choices, text));
}

Result<const SelectorInfo*> NeedSelector(std::string_view name) {
  if (const SelectorInfo* info = FindSelector(name)) return info;
  std::vector<std::string_view> names;
  for (const SelectorInfo* info : Selectors()) names.push_back(info->name);
  return Status::InvalidArgument(
      fmt::format("selector: expected one of {}, found '{}'", Join(names), name));
}

Status CheckShape(const SelectorShape& shape) {
  if (shape.n_layer > 0 && shape.n_kv_head > 0 && shape.head_dim > 0 &&
      shape.n_head % shape.n_kv_head == 0 &&
      (shape.window.empty() || shape.window.size() == static_cast<size_t>(shape.n_layer))) {
    return Status::Ok();
  }
  return Status::InvalidArgument(fmt::format(
      "selector: expected a model shape, found {} layers, {} heads, {} kv heads, head "
      "dimension {}, {} windows",
      shape.n_layer, shape.n_head, shape.n_kv_head, shape.head_dim, shape.window.size()));
}

}  // namespace

std::span<const SelectorInfo* const> Selectors() {
#define KVASIR_SELECTOR(name) &name##_selector(),
  static const SelectorInfo* const all[] = {
#include "kvasir/policy/selectors/selectors.def"
  };
#undef KVASIR_SELECTOR
  return all;
}

const SelectorInfo* FindSelector(std::string_view name) {
  const auto all = Selectors();
  const auto found = std::find_if(all.begin(), all.end(),
                                  [&](const SelectorInfo* info) { return info->name == name; });
  return found == all.end() ? nullptr : *found;
}

Result<SelectorValues> SelectorValues::Make(const SelectorInfo& info, SelectorArgs args) {
  SelectorValues values(info);
  for (const SelectorParam& param : info.params) values.text_.emplace_back(param.fallback);
  std::vector<bool> given(info.params.size());
  size_t next = 0;
  for (const auto& arg : args) {
    const auto& [name, text] = arg;
    size_t i = next;
    if (!name.empty()) {
      const auto found = std::find_if(info.params.begin(), info.params.end(),
                                      [&](const SelectorParam& p) { return p.name == arg.first; });
      if (found == info.params.end()) {
        std::vector<std::string_view> names;
        for (const SelectorParam& param : info.params) names.push_back(param.name);
        return Status::InvalidArgument(fmt::format("{}: expected a parameter of {}, found '{}'",
                                                   info.name, Join(names), name));
      }
      i = static_cast<size_t>(found - info.params.begin());
    } else if (i >= info.params.size()) {
      return Status::InvalidArgument(fmt::format("{}: expected at most {} parameters, found '{}'",
                                                 info.name, info.params.size(), text));
    }
    if (given[i]) {
      return Status::InvalidArgument(
          fmt::format("{}: {} is given twice", info.name, info.params[i].name));
    }
    KVASIR_RETURN_IF_ERROR(CheckValue(info, info.params[i], text));
    given[i] = true;
    values.text_[i] = text;
    next = i + 1;
  }
  return values;
}

size_t SelectorValues::IndexOf(std::string_view name) const {
  const auto found = std::find_if(info_->params.begin(), info_->params.end(),
                                  [&](const SelectorParam& param) { return param.name == name; });
  assert(found != info_->params.end());
  return static_cast<size_t>(found - info_->params.begin());
}

int64_t SelectorValues::Int(std::string_view name) const {
  int64_t value = 0;
  const bool parsed = ParseInt(Text(name), &value);
  assert(parsed);
  static_cast<void>(parsed);
  return value;
}

Status CheckSelector(std::string_view name, SelectorArgs args) {
  KVASIR_ASSIGN_OR_RETURN(const SelectorInfo* info, NeedSelector(name));
  return SelectorValues::Make(*info, args).status();
}

Result<std::unique_ptr<Selector>> MakeSelector(std::string_view name, SelectorArgs args,
                                               const SelectorShape& shape) {
  KVASIR_ASSIGN_OR_RETURN(const SelectorInfo* info, NeedSelector(name));
  KVASIR_ASSIGN_OR_RETURN(const SelectorValues values, SelectorValues::Make(*info, args));
  KVASIR_RETURN_IF_ERROR(CheckShape(shape));
  return info->make(values, shape);
}

}  // namespace kvasir
