// Text to token ids and back. Vocabularies come from GGUF metadata or from tokenizer.json.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kvasir/sampling.h"
#include "kvasir/status.h"

namespace kvasir {

enum class TokenKind : uint8_t { kNormal, kUnknown, kControl, kUserDefined, kUnused, kByte };

// Immutable after construction; safe to share between threads.
class Tokenizer {
 public:
  struct EncodeOptions {
    bool add_bos = false;        // prepend BOS if the vocabulary has one
    bool parse_special = false;  // text that spells a control token becomes that token
  };
  // A stretch of text with its own rule: template text may spell control tokens, a user's words
  // must not.
  struct Piece {
    std::string_view text;
    bool parse_special = false;
  };

  virtual ~Tokenizer() = default;

  // Invalid UTF-8 is encoded byte by byte where the vocabulary can, else as the unknown token.
  virtual std::vector<TokenId> Encode(std::string_view text, EncodeOptions options) const = 0;
  // One prompt out of pieces: the same ids as the concatenated text, save that control tokens are
  // recognised only inside pieces that allow it.
  virtual std::vector<TokenId> Encode(std::span<const Piece> pieces, bool add_bos) const = 0;

  // The bytes a token adds to the text; may split a UTF-8 character. Control tokens give nothing
  // unless `show_special`. `id` must not be negative; ids from n_vocab() on, the rows that pad a
  // model's matrices, are kUnused, spelled "" and give nothing.
  virtual std::string TokenBytes(TokenId id, bool show_special = false) const = 0;
  // TokenBytes joined, with the vocabulary's leading-space rule undone at the start of the text.
  // Errors: kInvalidArgument names an id out of range and its index.
  virtual Result<std::string> Decode(std::span<const TokenId> ids,
                                     bool show_special = false) const = 0;

  virtual int32_t n_vocab() const = 0;
  virtual TokenKind kind(TokenId id) const = 0;
  virtual std::string_view text(TokenId id) const = 0;  // as the vocabulary spells it
  // -1 when absent.
  virtual TokenId bos() const = 0;
  virtual TokenId eos() const = 0;
  virtual bool add_bos_by_default() const = 0;
  virtual bool IsEndOfGeneration(TokenId id) const = 0;  // eos, eot, eom and what the files list
  virtual std::string_view type_name() const = 0;        // "spm", "bpe", "unigram"
  virtual std::string_view pre_name() const = 0;         // tokenizer.ggml.pre or "tokenizer.json"
};

// Turns a stream of tokens into text that never ends inside a UTF-8 character.
class StreamingDetokenizer {
 public:
  // `at_start`: the stream starts a text, so the vocabulary's leading-space rule is undone; false
  // when it continues one, as after a raw prompt.
  explicit StreamingDetokenizer(const Tokenizer& tokenizer, bool show_special = false,
                                bool at_start = true)
      : tokenizer_(tokenizer), show_special_(show_special), at_start_(at_start) {}
  // Text that became complete with this token; may be empty. `id` as for TokenBytes.
  std::string Push(TokenId id);
  // What is left; bytes that never became a character come out as U+FFFD.
  std::string Finish();

 private:
  const Tokenizer& tokenizer_;
  bool show_special_;
  bool at_start_;
  std::string pending_;
};

}  // namespace kvasir
