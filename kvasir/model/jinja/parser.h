// Template source to a tree of statements.
#pragma once

#include <string_view>

#include "kvasir/model/jinja/ast.h"

namespace kvasir::jinja {

// Throws Failure with the line of the first error. Tags: for, if, set, macro, call, filter, with,
// raw, break, continue, generation; others are kUnsupported by name.
Body ParseTemplate(std::string_view source);

}  // namespace kvasir::jinja
