// Strict scoring of replies.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace kvasir {

// White space in runs becomes one space; white space and punctuation at both ends go.
std::string NormalizeReply(std::string_view text);

// The share of `expected` that the reply holds, in [0, 1]. Both are normalised; letters keep their
// case. An expected string counts where it stands as whole words: no letter, digit or '_' before or
// behind it. A single one must stand first in the reply; several may stand anywhere, in any order.
double ScoreReply(std::string_view reply, std::span<const std::string> expected);

}  // namespace kvasir
