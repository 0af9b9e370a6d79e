#include "cli/arg_values.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>
#include <type_traits>
#include <vector>

#include "kvasir/core/byte_ledger.h"
#include "kvasir/core/join.h"

namespace kvasir::cli {
namespace {

template <typename T>
std::optional<T> ParseNumber(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

Status Unexpected(const Option& option, std::string_view source, std::string_view value) {
  return Status::InvalidArgument(
      fmt::format("{}: expected {}, found '{}'", source, ExpectedText(option), value));
}

template <typename T>
Result<T> CheckedNumber(const Option& option, std::string_view source, std::string_view value) {
  const std::optional<T> number = ParseNumber<T>(value);
  if (!number) return Unexpected(option, source, value);
  const double as_double = static_cast<double>(*number);
  // NaN fails both comparisons, so it is refused here too.
  if (!(as_double >= option.min && as_double <= option.max)) {
    return Unexpected(option, source, value);
  }
  return *number;
}

std::vector<std::string> SplitAtCommas(const std::string& value) {
  std::vector<std::string> parts;
  for (size_t begin = 0;;) {
    const size_t comma = value.find(',', begin);
    parts.push_back(value.substr(begin, comma - begin));
    if (comma == std::string::npos) return parts;
    begin = comma + 1;
  }
}

Status CheckChoice(const Option& option, std::string_view source, const std::string& value) {
  if (option.choices.empty() ||
      std::find(option.choices.begin(), option.choices.end(), value) != option.choices.end()) {
    return Status::Ok();
  }
  return Unexpected(option, source, value);
}

Status Append(const Option& option, std::string_view source, const std::string& value,
              std::vector<std::string>& list) {
  const auto parts = option.comma_list ? SplitAtCommas(value) : std::vector{value};
  for (const std::string& part : parts) {
    KVASIR_RETURN_IF_ERROR(CheckChoice(option, source, part));
    list.push_back(part);
  }
  return Status::Ok();
}

Status Append(const Option& option, std::string_view source, const std::string& value,
              std::vector<int64_t>& list) {
  for (const std::string& part : SplitAtCommas(value)) {
    KVASIR_ASSIGN_OR_RETURN(const int64_t number, CheckedNumber<int64_t>(option, source, part));
    list.push_back(number);
  }
  return Status::Ok();
}

std::string RangeText(const Option& option) {
  const bool low = std::isfinite(option.min), high = std::isfinite(option.max);
  if (low && high) return fmt::format(" from {} to {}", option.min, option.max);
  if (low) return fmt::format(" of at least {}", option.min);
  if (high) return fmt::format(" of at most {}", option.max);
  return {};
}

}  // namespace

Status SetValue(const Option& option, std::string_view source, const std::string& value) {
  return std::visit(
      [&](auto target) -> Status {
        using T = decltype(target);
        if constexpr (std::is_same_v<T, Ignored>) {
          return Status::Ok();
        } else if constexpr (std::is_same_v<T, bool*>) {
          KVASIR_ASSIGN_OR_RETURN(*target, ParseBoolean(source, value));
        } else if constexpr (std::is_same_v<T, ByteSize>) {
          KVASIR_ASSIGN_OR_RETURN(*target.bytes, ParseByteSize(source, value));
        } else if constexpr (std::is_same_v<T, std::string*>) {
          KVASIR_RETURN_IF_ERROR(CheckChoice(option, source, value));
          *target = value;
        } else if constexpr (std::is_same_v<T, std::vector<std::string>*> ||
                             std::is_same_v<T, std::vector<int64_t>*>) {
          return Append(option, source, value, *target);
        } else {
          using Number = std::remove_pointer_t<T>;
          KVASIR_ASSIGN_OR_RETURN(*target, CheckedNumber<Number>(option, source, value));
        }
        return Status::Ok();
      },
      option.target);
}

Result<bool> ParseBoolean(std::string_view source, std::string_view value) {
  for (const std::string_view word : {"1", "on", "enabled", "true", "yes"}) {
    if (value == word) return true;
  }
  for (const std::string_view word : {"0", "off", "disabled", "false", "no"}) {
    if (value == word) return false;
  }
  return Status::InvalidArgument(fmt::format(
      "{}: expected 1, on, enabled, true or 0, off, disabled, false, found '{}'", source, value));
}

Result<int64_t> ParseByteSize(std::string_view source, std::string_view value) {
  const Status error = Status::InvalidArgument(fmt::format(
      "{}: expected a number of bytes such as 4096, 512M or 1.5G, found '{}'", source, value));
  std::string_view digits = value, suffix;
  if (const size_t end = value.find_first_not_of("0123456789."); end != std::string_view::npos) {
    digits = value.substr(0, end);
    suffix = value.substr(end);
  }
  const std::optional<double> number = ParseNumber<double>(digits);
  if (!number) return error;
  double scale = 1;
  if (!suffix.empty()) {
    constexpr std::string_view kLetters = "KMGT";
    const char upper = static_cast<char>(suffix[0] >= 'a' ? suffix[0] - 'a' + 'A' : suffix[0]);
    const size_t power = kLetters.find(upper);
    const std::string_view tail = suffix.substr(1);
    if (power == std::string_view::npos || !(tail.empty() || tail == "B" || tail == "iB")) {
      return error;
    }
    scale = std::ldexp(1.0, 10 * static_cast<int>(power + 1));
  }
  const double bytes = *number * scale;
  if (!(bytes < std::ldexp(1.0, 62))) return error;
  return static_cast<int64_t>(bytes);
}

std::string ExpectedText(const Option& option) {
  return std::visit(
      [&](auto target) -> std::string {
        using T = decltype(target);
        if constexpr (std::is_same_v<T, int32_t*> || std::is_same_v<T, int64_t*>) {
          return "an integer" + RangeText(option);
        } else if constexpr (std::is_same_v<T, std::vector<int64_t>*>) {
          return "integers" + RangeText(option) + ", separated by commas";
        } else if constexpr (std::is_same_v<T, float*> || std::is_same_v<T, double*>) {
          return "a number" + RangeText(option);
        } else if constexpr (std::is_same_v<T, ByteSize>) {
          return "a number of bytes";
        } else {
          if (!option.choices.empty()) {
            return fmt::format("one of {}", Join(option.choices));
          }
          return std::string(option.metavar.empty() ? "a value" : option.metavar);
        }
      },
      option.target);
}

std::string ShowValue(const Target& target) {
  return std::visit(
      [](auto value) -> std::string {
        using T = decltype(value);
        if constexpr (std::is_same_v<T, Ignored>) {
          return {};
        } else if constexpr (std::is_same_v<T, bool*>) {
          return *value ? "on" : "off";
        } else if constexpr (std::is_same_v<T, ByteSize>) {
          return *value.bytes == 0 ? "" : FormatBytes(*value.bytes);
        } else if constexpr (std::is_same_v<T, std::vector<std::string>*> ||
                             std::is_same_v<T, std::vector<int64_t>*>) {
          return Join(*value, ",");
        } else {
          return fmt::format("{}", *value);
        }
      },
      target);
}

}  // namespace kvasir::cli
