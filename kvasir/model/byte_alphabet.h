// The byte-level alphabet of GPT-2: each byte is spelled by one printable character, so that any
// bytes can be words of a vocabulary. Printable Latin-1 bytes spell themselves; the other 68 take
// U+0100, U+0101, ... in order.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace kvasir {

// The character of `byte`, UTF-8.
std::string_view ByteToCharacter(uint8_t byte);

// The byte that `codepoint` spells, or -1.
int CharacterToByte(uint32_t codepoint);

std::string BytesToAlphabet(std::string_view bytes);

// Characters outside the alphabet stand for their own UTF-8 bytes.
std::string AlphabetToBytes(std::string_view text);

}  // namespace kvasir
