// The words that tasks are made of, all our own lists. Lists of keys share no word with the filler,
// so that a key can only stand where a task has put it.
#pragma once

#include <span>
#include <string_view>

namespace kvasir {

using WordList = std::span<const std::string_view>;

// Keys are an adjective and a noun: 128 * 256 pairs.
WordList KeyAdjectives();
WordList KeyNouns();
// Invented people: 64 * 64 names.
WordList FirstNames();
WordList LastNames();
WordList Towns();    // invented, 96
WordList Jobs();     // 48
WordList Animals();  // 48, none of them a key noun
WordList Foods();    // 48, likewise
WordList Tools();    // 48, likewise
WordList Verbs();    // 48 of the imperative, for names of functions

}  // namespace kvasir
