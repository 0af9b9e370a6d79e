// Text that answers no question: sentences of a small grammar, or those of a file.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "kvasir/core/random.h"

namespace kvasir {

// One sentence, its full stop included. It holds no digit and no word of the key lists (words.h).
// Some 500 words in some 40 patterns: a repeat within thousands of sentences is rare.
std::string FillerSentence(SplitMix64& random);

// Every word that FillerSentence can say, in small letters.
std::vector<std::string> FillerVocabulary();

// The sentences of a text, white space normalised; what is longer than 400 bytes is cut at a space.
std::vector<std::string> SplitSentences(std::string_view text);

}  // namespace kvasir
