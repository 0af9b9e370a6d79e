// Values of command-line options as text: checked on the way in, shown on the way out.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "cli/args.h"
#include "kvasir/status.h"

namespace kvasir::cli {

// Checks `value` against the option's type, range and choices, then sets its target (lists:
// appends). Errors: kInvalidArgument starting with `source`, the flag or the environment variable.
Status SetValue(const Option& option, std::string_view source, const std::string& value);

// 1, on, enabled, true, yes / 0, off, disabled, false, no.
Result<bool> ParseBoolean(std::string_view source, std::string_view value);

// "4G" to bytes, as ByteSize says.
Result<int64_t> ParseByteSize(std::string_view source, std::string_view value);

// What the option takes, for messages: "an integer from 0 to 10", "one of f16, q8_0".
std::string ExpectedText(const Option& option);

// The target's present value for the help; empty when there is nothing to show.
std::string ShowValue(const Target& target);

}  // namespace kvasir::cli
