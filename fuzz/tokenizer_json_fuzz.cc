// tokenizer.json from outside: build it, encode text with it, decode what came out.
// Input: the document, then optionally a NUL byte and the text to encode.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "kvasir/model/tokenizer_json.h"

namespace {

constexpr std::string_view kText =
    "She's 1234 \xE7\x8C\xAB  <mark>\n\t\xC3\xA9\xF0\x9F\x98\x80 \xFF\xC3 <|end|> aaaaaaaaaaaaaaab";

void Check(bool holds) {
  if (!holds) std::abort();
}

void Use(const kvasir::Tokenizer& tokenizer, std::string_view text) {
  for (const bool parse_special : {false, true}) {
    const auto ids = tokenizer.Encode(text, {.add_bos = true, .parse_special = parse_special});
    Check(tokenizer.Decode(ids).ok());
    Check(tokenizer.Decode(ids, true).ok());
    kvasir::StreamingDetokenizer stream(tokenizer);
    for (const kvasir::TokenId id : ids) stream.Push(id);
    stream.Finish();
    if (parse_special) continue;
    // Plain text never becomes a control token, BOS aside.
    for (size_t i = tokenizer.bos() >= 0 ? 1 : 0; i < ids.size(); ++i) {
      Check(tokenizer.kind(ids[i]) != kvasir::TokenKind::kControl);
    }
  }
  const kvasir::Tokenizer::Piece pieces[] = {{text, true}, {text, false}};
  tokenizer.Encode(pieces, false);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t nul = std::min(input.find('\0'), input.size());
  const std::string_view text = nul < input.size() ? input.substr(nul + 1) : kText;
  kvasir::Result<kvasir::VocabularySpec> spec =
      kvasir::VocabularyFromJson({input.substr(0, nul), "", "", ""});
  if (!spec.ok()) return 0;
  const auto tokenizer = kvasir::MakeTokenizer(std::move(*spec));
  if (tokenizer.ok()) Use(**tokenizer, text.substr(0, 4096));
  return 0;
}
