#include <fmt/core.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "cli/command.h"

namespace kvasir::cli {
namespace {

Status PrintHelp(std::FILE* to) {
  fmt::print(to, "usage: kvasir COMMAND [FLAGS]; kvasir COMMAND --help tells more\n\n");
  for (const Command* command : Commands()) {
    fmt::print(to, "  {:<12} {}\n", command->name, command->summary);
  }
  return Status::Ok();
}

// The command that `args` names, run. A word that names none is an error like any other.
Status RunCommand(std::span<const std::string> args) {
  const std::string& name = args[0];
  if (name == "help" || name == "--help" || name == "-h") return PrintHelp(stdout);
  for (const Command* command : Commands()) {
    if (command->name == name || (name == "--version" && command->name == "version")) {
      return command->run(args.subspan(1));
    }
  }
  return Status::InvalidArgument(
      fmt::format("unknown command '{}'; `kvasir help` lists them", name));
}

// A full disk shows when the last bytes leave the buffer, or on a write before.
Status FinishStdout() {
  errno = 0;
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return Status::Ok();
  return Status::IoError(errno != 0 ? fmt::format("stdout: {}", std::strerror(errno))
                                    : "stdout: not all could be written");
}

// Printing throws when the system refuses the bytes.
template <typename F>
Status WithoutExceptions(const F& run) {
  try {
    return run();
  } catch (const std::bad_alloc&) {
    return Status::OutOfMemory("the system refused memory");
  } catch (const std::exception& error) {
    return Status::IoError(error.what());
  }
}

int Main(int argc, char** argv) {
  const std::vector<std::string> args(argv + 1, argv + argc);
  if (args.empty()) {
    static_cast<void>(WithoutExceptions([] { return PrintHelp(stderr); }));
    return 2;
  }
  Status status = WithoutExceptions([&] { return RunCommand(args); });
  // Either way what was said before an error stands before it.
  Status written = FinishStdout();
  if (status.ok()) status = std::move(written);
  if (status.ok()) return 0;
  std::fprintf(stderr, "kvasir: %s\n", status.ToString().c_str());
  if (status.code() == StatusCode::kCancelled) return 130;  // what shells give for Ctrl-C
  return status.code() == StatusCode::kInvalidArgument ? 2 : 1;
}

}  // namespace
}  // namespace kvasir::cli

int main(int argc, char** argv) { return kvasir::cli::Main(argc, argv); }
