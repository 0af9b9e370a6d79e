// The program's commands: one file each, registered by one line in commands.def.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "kvasir/status.h"

namespace kvasir::cli {

struct Command {
  std::string_view name;
  std::string_view summary;  // one line for `kvasir help`
  // `args` are the words after the command's name. Results go to stdout, all else to stderr.
  Status (*run)(std::span<const std::string> args);
};

// All commands, in the order of commands.def.
std::span<const Command* const> Commands();

}  // namespace kvasir::cli
