#include "cli/command.h"

namespace kvasir::cli {

#define KVASIR_COMMAND(name) const Command& name##_command();
#include "cli/commands.def"
#undef KVASIR_COMMAND

std::span<const Command* const> Commands() {
  static const Command* const kCommands[] = {
#define KVASIR_COMMAND(name) &name##_command(),
#include "cli/commands.def"
#undef KVASIR_COMMAND
  };
  return kCommands;
}

}  // namespace kvasir::cli
