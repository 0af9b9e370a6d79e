// The conversation loop of `chat` and `run -cnv`.
#pragma once

#include "cli/generate.h"
#include "kvasir/status.h"

namespace kvasir::cli {

// Turns from stdin, a line each, until it ends; -p is the first. Replies go to stdout. The cache is
// kept between turns. /clear starts over, /exit ends.
// Errors: those of loading; of a turn, unless stdin is a terminal: there they are shown and the
// turn is forgotten.
Status Chat(const GenerateArgs& args);

}  // namespace kvasir::cli
