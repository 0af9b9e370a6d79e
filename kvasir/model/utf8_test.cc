#include "kvasir/model/utf8.h"

#include <gtest/gtest.h>

#include <set>

#include "kvasir/model/byte_alphabet.h"

namespace kvasir {
namespace {

TEST(Utf8, ReadsBackEveryScalarValue) {
  for (uint32_t codepoint = 0; codepoint <= 0x10FFFF; ++codepoint) {
    if (codepoint >= 0xD800 && codepoint < 0xE000) continue;
    std::string text;
    AppendUtf8(codepoint, text);
    const Utf8Unit unit = NextUtf8(text);
    ASSERT_EQ(unit.kind, Utf8Kind::kValid) << codepoint;
    ASSERT_EQ(unit.codepoint, codepoint);
    ASSERT_EQ(unit.length, text.size());
    for (size_t n = 1; n < text.size(); ++n) {
      ASSERT_EQ(NextUtf8(std::string_view(text).substr(0, n)).kind, Utf8Kind::kTruncated);
    }
  }
}

// The table of well-formed sequences in the Unicode standard (3-7), as a test of its own kind:
// of all pairs of bytes, which are the beginnings of characters.
TEST(Utf8, AcceptsExactlyTheTwoByteStartsOfTheStandard) {
  for (int first = 0x80; first < 256; ++first) {
    for (int second = 0; second < 256; ++second) {
      const bool continues = second >= 0x80 && second <= 0xBF;
      bool good = false;
      if (first >= 0xC2 && first <= 0xDF) good = continues;
      if (first >= 0xE0 && first <= 0xEF) good = continues;
      if (first >= 0xF0 && first <= 0xF4) good = continues;
      if (first == 0xE0) good = second >= 0xA0 && second <= 0xBF;
      if (first == 0xED) good = second >= 0x80 && second <= 0x9F;
      if (first == 0xF0) good = second >= 0x90 && second <= 0xBF;
      if (first == 0xF4) good = second >= 0x80 && second <= 0x8F;
      const std::string text = {static_cast<char>(first), static_cast<char>(second)};
      EXPECT_EQ(NextUtf8(text).kind != Utf8Kind::kInvalid, good) << first << " " << second;
    }
  }
}

TEST(Utf8, ReplacesEachMaximalSubpart) {
  // The example of the standard, section 3.9.
  std::string pending = "\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64";
  EXPECT_EQ(TakeCompleteUtf8(pending),
            "a\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"
            "b\xEF\xBF\xBD"
            "c\xEF\xBF\xBD\xEF\xBF\xBD"
            "d");
  EXPECT_EQ(pending, "");
}

TEST(Utf8, KeepsWhatMayStillBecomeACharacter) {
  std::string pending = "a\xF0\x9F\x98";
  EXPECT_EQ(TakeCompleteUtf8(pending), "a");
  EXPECT_EQ(pending, "\xF0\x9F\x98");
  pending += "\x80";
  EXPECT_EQ(TakeCompleteUtf8(pending), "\xF0\x9F\x98\x80");
}

TEST(ByteAlphabet, SpellsEachByteByOnePrintableCharacter) {
  std::set<std::string_view> seen;
  for (int byte = 0; byte < 256; ++byte) {
    const std::string_view character = ByteToCharacter(static_cast<uint8_t>(byte));
    EXPECT_TRUE(seen.insert(character).second);
    const Utf8Unit unit = NextUtf8(character);
    EXPECT_EQ(unit.length, character.size());
    EXPECT_EQ(CharacterToByte(unit.codepoint), byte);
    EXPECT_FALSE(IsWhiteSpace(unit.codepoint));
  }
  EXPECT_EQ(ByteToCharacter(' '), "\xC4\xA0");   // U+0120, known from every GPT-2 vocabulary
  EXPECT_EQ(ByteToCharacter('\n'), "\xC4\x8A");  // U+010A
  EXPECT_EQ(ByteToCharacter('A'), "A");
  EXPECT_EQ(CharacterToByte(0x4E00), -1);
}

TEST(ByteAlphabet, PassesOtherCharactersThrough) {
  EXPECT_EQ(AlphabetToBytes("\xC4\xA0\x61\xE4\xB8\x80"), " a\xE4\xB8\x80");
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all.push_back(static_cast<char>(byte));
  EXPECT_EQ(AlphabetToBytes(BytesToAlphabet(all)), all);
}

}  // namespace
}  // namespace kvasir
