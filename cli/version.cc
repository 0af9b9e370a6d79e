#include <fmt/core.h>

#include "cli/command.h"

namespace kvasir::cli {
namespace {

Status Run(std::span<const std::string> args) {
  if (!args.empty()) {
    return Status::InvalidArgument(fmt::format("version: takes no argument, found '{}'", args[0]));
  }
  fmt::print("kvasir 0.1.0\n");
  return Status::Ok();
}

}  // namespace

const Command& version_command() {
  static constexpr Command command = {"version", "print the version", Run};
  return command;
}

}  // namespace kvasir::cli
