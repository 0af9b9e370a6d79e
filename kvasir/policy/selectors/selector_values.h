// The parameters of a selector, checked.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kvasir/policy/selectors/registry.h"
#include "kvasir/status.h"

namespace kvasir {

inline constexpr std::string_view kGroupRuleHelp =
    "how query heads of a kv head agree: sum of their softmaxes, max of their scores, or each head "
    "its own";

class SelectorValues {
 public:
  // Errors as MakeSelector.
  static Result<SelectorValues> Make(const SelectorInfo& info, SelectorArgs args);

  int64_t Int(std::string_view name) const;
  std::string_view Text(std::string_view name) const { return text_[IndexOf(name)]; }

 private:
  explicit SelectorValues(const SelectorInfo& info) : info_(&info) {}
  size_t IndexOf(std::string_view name) const;

  const SelectorInfo* info_;
  std::vector<std::string> text_;  // in the order of info_->params
};

}  // namespace kvasir
