// String operations that filters and methods share. All keep marks.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "kvasir/model/jinja/value.h"

namespace kvasir::jinja {

// str.strip: white space, or any of the characters in `chars`.
Text Strip(const Text& text, std::optional<std::string_view> chars, bool left, bool right);

Text Upper(Heap& heap, const Text& text);
Text Lower(Heap& heap, const Text& text);
Text Capitalize(Heap& heap, const Text& text);
Text SwapCase(Heap& heap, const Text& text);
// Upper case where a word begins: with `jinja` after white space and -({[<, else after anything but
// a letter, as str.title.
Text Title(Heap& heap, const Text& text, bool jinja);

// str.replace; at most `count` times unless negative.
Text Replace(Heap& heap, const Text& text, std::string_view from, const Text& to, int64_t count);

// str.split, str.rsplit: on `separator`, or on runs of white space. Throws for an empty one.
std::vector<Text> Split(Heap& heap, const Text& text, std::optional<std::string_view> separator,
                        int64_t max_split, bool from_right);
std::vector<Text> SplitLines(Heap& heap, const Text& text, bool keep_ends);

}  // namespace kvasir::jinja
