#include "kvasir/model/vocabulary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <string>

#include "kvasir/model/byte_alphabet.h"
#include "kvasir/model/utf8.h"

namespace kvasir {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Piece = Tokenizer::Piece;

constexpr const char* kSpace = "\xE2\x96\x81";

// Tokens 0..2 are <unk> <s> </s>, 3..258 the bytes, then some words.
VocabularySpec SpmSpec() {
  VocabularySpec spec;
  spec.type = VocabularySpec::Type::kSpm;
  spec.tokens = {"<unk>", "<s>", "</s>"};
  spec.kinds = {TokenKind::kUnknown, TokenKind::kControl, TokenKind::kControl};
  for (int byte = 0; byte < 256; ++byte) {
    constexpr char kHex[] = "0123456789ABCDEF";
    spec.tokens.push_back(std::string("<0x") + kHex[byte / 16] + kHex[byte % 16] + ">");
    spec.kinds.push_back(TokenKind::kByte);
  }
  for (const std::string word : {"h", "i", "hi", "s", "<", ">", "/", "s>", "</"}) {
    spec.tokens.push_back(word);
    spec.kinds.push_back(TokenKind::kNormal);
  }
  for (const std::string word : {"", "h", "hi"}) {
    spec.tokens.push_back(kSpace + word);
    spec.kinds.push_back(TokenKind::kNormal);
  }
  spec.tokens.push_back("<call>");
  spec.kinds.push_back(TokenKind::kUserDefined);
  for (size_t i = 0; i < spec.tokens.size(); ++i) spec.scores.push_back(-1);
  spec.scores[1] = spec.scores[2] = 0;  // as published files have it: above every word
  spec.unk = 0;
  spec.bos = 1;
  spec.eos = 2;
  spec.add_bos = true;
  spec.add_space_prefix = true;
  spec.byte_fallback = true;
  return spec;
}

// Tokens 0..255 are the bytes, then "he", "Ġhe", and control tokens.
VocabularySpec BpeSpec() {
  VocabularySpec spec;
  spec.type = VocabularySpec::Type::kBpe;
  for (int byte = 0; byte < 256; ++byte) {
    spec.tokens.emplace_back(ByteToCharacter(static_cast<uint8_t>(byte)));
  }
  spec.tokens.insert(spec.tokens.end(), {"he", "\xC4\xA0he", "<|im_end|>", "<|im_start|>", "<w>"});
  spec.kinds.assign(spec.tokens.size(), TokenKind::kNormal);
  spec.kinds[258] = spec.kinds[259] = TokenKind::kControl;
  spec.kinds[260] = TokenKind::kUserDefined;
  spec.merges = {{"h", "e"}, {"\xC4\xA0", "he"}};
  spec.pre_name = "qwen2";
  spec.eos = 258;
  return spec;
}

std::unique_ptr<Tokenizer> Make(VocabularySpec spec) {
  Result<std::unique_ptr<Tokenizer>> made = MakeTokenizer(std::move(spec));
  EXPECT_TRUE(made.ok()) << made.status().ToString();
  return std::move(made).value();
}

std::vector<std::string> Texts(const Tokenizer& tokenizer, const std::vector<TokenId>& ids) {
  std::vector<std::string> texts;
  for (const TokenId id : ids) texts.emplace_back(tokenizer.text(id));
  return texts;
}

TEST(SpmTokenizer, PutsASpaceBeforeTextAndAfterTokensInIt) {
  const auto tokenizer = Make(SpmSpec());
  const auto hi = std::string(kSpace) + "hi";
  EXPECT_THAT(Texts(*tokenizer, tokenizer->Encode("hi", {.add_bos = true})),
              ElementsAre("<s>", hi));
  EXPECT_THAT(Texts(*tokenizer, tokenizer->Encode("hi<call>hi", {})),
              ElementsAre(hi, "<call>", hi));
  EXPECT_THAT(tokenizer->Encode("", {}), IsEmpty());
}

TEST(SpmTokenizer, NeverMakesAControlTokenOfPlainText) {
  const auto tokenizer = Make(SpmSpec());
  EXPECT_THAT(Texts(*tokenizer, tokenizer->Encode("</s>", {})), ElementsAre(kSpace, "</", "s>"));
  EXPECT_THAT(Texts(*tokenizer, tokenizer->Encode("</s>", {.parse_special = true})),
              ElementsAre("</s>"));
}

TEST(SpmTokenizer, DropsTheSpaceOfItsOwnWhenDecoding) {
  const auto tokenizer = Make(SpmSpec());
  const auto ids = tokenizer->Encode(" hi hi", {.add_bos = true});
  EXPECT_EQ(tokenizer->Decode(ids).value(), " hi hi");
  EXPECT_EQ(tokenizer->Decode(ids, true).value(), "<s> hi hi");
  EXPECT_EQ(tokenizer->TokenBytes(ids.back()), " hi");
  EXPECT_EQ(tokenizer->TokenBytes(1), "");
  EXPECT_EQ(tokenizer->TokenBytes(1, true), "<s>");
  EXPECT_EQ(tokenizer->TokenBytes(3 + 0xE2), "\xE2");
}

TEST(BpeTokenizer, EncodesBytesThatAreNoText) {
  const auto tokenizer = Make(BpeSpec());
  EXPECT_THAT(tokenizer->Encode("\xFF\xC3he", {}), ElementsAre(0xFF, 0xC3, 256));
  std::string all;
  for (int i = 0; i < 512; ++i) all.push_back(static_cast<char>(i * 7 + i / 256));
  EXPECT_EQ(tokenizer->Decode(tokenizer->Encode(all, {})).value(), all);
}

TEST(Tokenizer, JoinsPiecesAsIfTheyWereOneText) {
  const auto tokenizer = Make(BpeSpec());
  const Piece split[] = {{"<|im_start|> h", true}, {"e he", false}, {"<|im_end|>", true}};
  EXPECT_EQ(tokenizer->Encode(split, false),
            tokenizer->Encode("<|im_start|> he he<|im_end|>", {.parse_special = true}));
  const Piece across[] = {{"<|im_", true}, {"end|>", true}};
  EXPECT_THAT(tokenizer->Encode(across, false), ElementsAre(258));
  EXPECT_THAT(tokenizer->Encode({}, false), IsEmpty());
}

TEST(Tokenizer, LooksForControlTokensOnlyInPiecesThatAllowThem) {
  const auto tokenizer = Make(BpeSpec());
  const Piece pieces[] = {{"<|im_end|>", false}, {"<|im_end|>", true}, {"<w>", false}};
  const auto ids = tokenizer->Encode(pieces, false);
  EXPECT_EQ(std::count(ids.begin(), ids.end(), 258), 1);
  EXPECT_EQ(ids.back(), 260);  // user-defined tokens are found anywhere
  const Piece across[] = {{"<|im_", true}, {"end|>", false}};
  const auto plain = tokenizer->Encode(across, false);
  EXPECT_EQ(std::count(plain.begin(), plain.end(), 258), 0);
}

TEST(Tokenizer, KnowsTheEndsOfGeneration) {
  VocabularySpec spec = BpeSpec();
  spec.eos = 5;
  spec.eog = {7};
  const auto tokenizer = Make(std::move(spec));
  for (const TokenId id : {5, 7, 258}) EXPECT_TRUE(tokenizer->IsEndOfGeneration(id)) << id;
  for (const TokenId id : {-1, 0, 6, 259}) EXPECT_FALSE(tokenizer->IsEndOfGeneration(id)) << id;
}

TEST(Tokenizer, NamesAnIdOutOfRange) {
  const auto tokenizer = Make(BpeSpec());
  const TokenId ids[] = {0, 261};
  EXPECT_EQ(tokenizer->Decode(ids).status().message(),
            "token 261 at index 1: expected an id from 0 to 260");
  const TokenId negative[] = {-1};
  EXPECT_EQ(tokenizer->Decode(negative).status().code(), StatusCode::kInvalidArgument);
}

TEST(MakeTokenizer, NamesWhatContradictsItself) {
  const auto message = [](auto change) {
    VocabularySpec spec = BpeSpec();
    change(spec);
    return MakeTokenizer(std::move(spec)).status().message();
  };
  EXPECT_EQ(message([](auto& spec) { spec.pre_name = "new-thing"; }),
            "tokenizer.ggml.pre: unknown pre-tokenizer 'new-thing'");
  EXPECT_THAT(message([](auto& spec) { spec.eos = 261; }), HasSubstr("eos: expected an id below"));
  EXPECT_THAT(message([](auto& spec) { spec.eog = {-7}; }), HasSubstr("eog"));
  EXPECT_THAT(message([](auto& spec) { spec.scores = {1}; }), HasSubstr("expected 261 scores"));
  EXPECT_THAT(message([](auto& spec) { spec.kinds.pop_back(); }), HasSubstr("token kinds"));
  EXPECT_THAT(message([](auto& spec) { spec = {}; }), HasSubstr("found none"));
}

TEST(MakeTokenizer, TakesAMissingPreTokenizerNameForTheDefault) {
  VocabularySpec spec = BpeSpec();
  spec.pre_name = "";
  EXPECT_EQ(Make(std::move(spec))->pre_name(), "default");
}

rc::Gen<std::string> AnyText() {
  const auto codepoint = rc::gen::oneOf(
      rc::gen::inRange<uint32_t>(0, 0x80),
      rc::gen::map(rc::gen::elementOf(std::string("  \n\the<|im_ends>/")),
                   [](char c) { return static_cast<uint32_t>(c); }),
      rc::gen::inRange<uint32_t>(0x80, 0xD800), rc::gen::inRange<uint32_t>(0xE000, 0x110000));
  return rc::gen::map(rc::gen::container<std::vector<uint32_t>>(codepoint),
                      [](const std::vector<uint32_t>& codepoints) {
                        std::string text;
                        for (const uint32_t c : codepoints) AppendUtf8(c, text);
                        return text;
                      });
}

RC_GTEST_PROP(BpeTokenizer, DecodesWhatItEncoded, ()) {
  static const auto tokenizer = Make(BpeSpec());
  const std::string text = *AnyText();
  RC_ASSERT(tokenizer->Decode(tokenizer->Encode(text, {})).value() == text);
}

RC_GTEST_PROP(SpmTokenizer, DecodesWhatItEncoded, ()) {
  static const auto tokenizer = [] {
    VocabularySpec spec = SpmSpec();
    spec.kinds.back() = TokenKind::kNormal;  // a user-defined token starts a text of its own
    return Make(std::move(spec));
  }();
  std::string text = *AnyText();
  // U+2581 itself reads as a space.
  RC_PRE(text.find(kSpace) == std::string::npos);
  RC_ASSERT(tokenizer->Decode(tokenizer->Encode(text, {})).value() == text);
}

// A token that runs past a space forbids merging word by word; where the text has no such token the
// ids must not change.
RC_GTEST_PROP(SpmTokenizer, MergesWordByWordAsItMergesTheWhole, ()) {
  static const auto by_word = Make(SpmSpec());
  static const auto whole = [] {
    VocabularySpec spec = SpmSpec();
    spec.tokens.push_back(std::string("\x01") + kSpace);
    spec.kinds.push_back(TokenKind::kNormal);
    spec.scores.push_back(0);
    return Make(std::move(spec));
  }();
  const auto letters = *rc::gen::container<std::string>(rc::gen::elementOf(std::string("hi  s<>")));
  RC_ASSERT(by_word->Encode(letters, {}) == whole->Encode(letters, {}));
}

TEST(SpmTokenizer, MergesPastASpaceWhereATokenDoes) {
  VocabularySpec spec = SpmSpec();
  spec.tokens.push_back(std::string("s") + kSpace);
  spec.kinds.push_back(TokenKind::kNormal);
  spec.scores.push_back(0);
  const auto tokenizer = Make(std::move(spec));
  EXPECT_THAT(Texts(*tokenizer, tokenizer->Encode("s hi", {})),
              ElementsAre(kSpace, std::string("s") + kSpace, "hi"));
}

RC_GTEST_PROP(Tokenizer, EncodesPlainPiecesAsTheirConcatenation, ()) {
  static const auto tokenizer = Make(BpeSpec());
  const auto parts = *rc::gen::container<std::vector<std::string>>(AnyText());
  std::vector<Piece> pieces;
  std::string all;
  for (const std::string& part : parts) {
    pieces.push_back({part, false});
    all += part;
  }
  RC_ASSERT(tokenizer->Encode(pieces, false) == tokenizer->Encode(all, {}));
}

RC_GTEST_PROP(StreamingDetokenizer, GivesWholeCharactersOnly, ()) {
  static const auto tokenizer = Make(BpeSpec());
  const std::string text = *AnyText();
  StreamingDetokenizer stream(*tokenizer);
  std::string all;
  for (const TokenId id : tokenizer->Encode(text, {})) {
    const std::string part = stream.Push(id);
    RC_ASSERT(ValidUtf8Prefix(part) == part.size());
    all += part;
  }
  all += stream.Finish();
  RC_ASSERT(all == text);
}

TEST(StreamingDetokenizer, ReplacesBytesThatNeverBecomeACharacter) {
  const auto tokenizer = Make(BpeSpec());
  StreamingDetokenizer stream(*tokenizer);
  EXPECT_EQ(stream.Push(0xF0), "");
  EXPECT_EQ(stream.Push(0x9F), "");
  EXPECT_EQ(stream.Push('a'),
            "\xEF\xBF\xBD"
            "a");
  EXPECT_EQ(stream.Push(0xFF), "\xEF\xBF\xBD");
  EXPECT_EQ(stream.Push(0xE4), "");
  EXPECT_EQ(stream.Finish(), "\xEF\xBF\xBD");
  EXPECT_EQ(stream.Finish(), "");
}

TEST(StreamingDetokenizer, UndoesTheLeadingSpaceAtTheStartOnly) {
  const auto tokenizer = Make(SpmSpec());
  const auto ids = tokenizer->Encode("hi hi", {.add_bos = true});
  for (const bool at_start : {true, false}) {
    StreamingDetokenizer stream(*tokenizer, false, at_start);
    std::string text;
    for (const TokenId id : ids) text += stream.Push(id);
    EXPECT_EQ(text, at_start ? "hi hi" : " hi hi");
  }
}

}  // namespace
}  // namespace kvasir
