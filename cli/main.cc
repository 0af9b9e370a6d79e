#include <fmt/core.h>

#include <cstdio>
#include <string>
#include <vector>

#include "cli/command.h"

namespace kvasir::cli {
namespace {

void PrintHelp(std::FILE* to) {
  fmt::print(to, "usage: kvasir COMMAND [FLAGS]; kvasir COMMAND --help tells more\n\n");
  for (const Command* command : Commands()) {
    fmt::print(to, "  {:<12} {}\n", command->name, command->summary);
  }
}

int Main(int argc, char** argv) {
  const std::vector<std::string> args(argv + 1, argv + argc);
  if (args.empty()) {
    PrintHelp(stderr);
    return 2;
  }
  if (args[0] == "help" || args[0] == "--help" || args[0] == "-h") {
    PrintHelp(stdout);
    return 0;
  }
  for (const Command* command : Commands()) {
    if (command->name != args[0] && !(args[0] == "--version" && command->name == "version")) {
      continue;
    }
    const Status status = command->run(std::span(args).subspan(1));
    if (status.ok()) return 0;
    std::fflush(stdout);
    fmt::print(stderr, "kvasir: {}\n", status.ToString());
    if (status.code() == StatusCode::kCancelled) return 130;  // what shells give for Ctrl-C
    return status.code() == StatusCode::kInvalidArgument ? 2 : 1;
  }
  fmt::print(stderr, "kvasir: unknown command '{}'; `kvasir help` lists them\n", args[0]);
  return 2;
}

}  // namespace
}  // namespace kvasir::cli

int main(int argc, char** argv) { return kvasir::cli::Main(argc, argv); }
