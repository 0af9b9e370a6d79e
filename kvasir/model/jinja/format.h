// Python's two ways of filling a string: '%s' % x and '{}'.format(x). Marks are kept: those of the
// pattern on its own bytes, those of the values on theirs.
#pragma once

#include "kvasir/model/jinja/builtin.h"

namespace kvasir::jinja {

// `arguments` is a tuple, a dict for %(name)s, or one value. Conversions: s r d i u f F e E g G x X
// o c %. Throws Failure for anything else.
Text PercentFormat(Runtime& runtime, const Text& pattern, const Value& arguments);

// {} {0} {name} {name.attribute} with [[fill]align][sign][0][width][,][.precision][type].
Text BraceFormat(Runtime& runtime, const Text& pattern, const Arguments& arguments);

// `text` with fill on both sides up to `width` characters; align is one of < > ^,
// or c, which places an odd space as str.center does.
Text Pad(Heap& heap, const Text& text, int64_t width, char align, char fill = ' ');

}  // namespace kvasir::jinja
