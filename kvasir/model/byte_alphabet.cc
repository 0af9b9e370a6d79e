#include "kvasir/model/byte_alphabet.h"

#include "kvasir/model/utf8.h"

namespace kvasir {
namespace {

constexpr uint32_t kFirstSubstitute = 0x100;
constexpr uint32_t kSubstitutes = 68;

constexpr bool SpellsItself(uint32_t byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD && byte <= 0xFF);
}

struct Alphabet {
  std::array<std::string, 256> characters;
  std::array<uint8_t, kSubstitutes> substituted;  // byte of U+0100 + index

  Alphabet() {
    uint32_t next = 0;
    for (uint32_t byte = 0; byte < 256; ++byte) {
      uint32_t codepoint = byte;
      if (!SpellsItself(byte)) {
        substituted[next] = static_cast<uint8_t>(byte);
        codepoint = kFirstSubstitute + next++;
      }
      AppendUtf8(codepoint, characters[byte]);
    }
  }
};

const Alphabet& TheAlphabet() {
  static const Alphabet alphabet;
  return alphabet;
}

}  // namespace

std::string_view ByteToCharacter(uint8_t byte) { return TheAlphabet().characters[byte]; }

int CharacterToByte(uint32_t codepoint) {
  if (codepoint < 0x100) return SpellsItself(codepoint) ? static_cast<int>(codepoint) : -1;
  const uint32_t index = codepoint - kFirstSubstitute;
  return index < kSubstitutes ? TheAlphabet().substituted[index] : -1;
}

std::string BytesToAlphabet(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size() + bytes.size() / 4);
  for (const char byte : bytes) text += ByteToCharacter(static_cast<uint8_t>(byte));
  return text;
}

std::string AlphabetToBytes(std::string_view text) {
  std::string bytes;
  while (!text.empty()) {
    const Utf8Unit unit = NextUtf8(text);
    const int byte = unit.kind == Utf8Kind::kValid ? CharacterToByte(unit.codepoint) : -1;
    if (byte >= 0) {
      bytes.push_back(static_cast<char>(byte));
    } else {
      bytes += text.substr(0, unit.length);
    }
    text.remove_prefix(unit.length);
  }
  return bytes;
}

}  // namespace kvasir
