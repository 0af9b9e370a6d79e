// What a tokenizer is made of, whatever file it came from.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "kvasir/model/text_pipeline.h"
#include "kvasir/model/tokenizer.h"
#include "kvasir/status.h"

namespace kvasir {

// Most tokens a vocabulary may have; more is taken for a damaged file.
inline constexpr int64_t kMaxVocabulary = int64_t{1} << 21;

// How a control or user-defined token is found in text.
struct AddedTokenRule {
  TokenId id = 0;
  bool lstrip = false;      // the match swallows white space before it
  bool rstrip = false;      // ... and after it
  bool normalized = false;  // looked for after the text's normalisation, not before
};

struct VocabularySpec {
  enum class Type : uint8_t {
    kSpm,  // adjacent symbols merge when they spell a token, highest score first
    kBpe,  // adjacent symbols merge as `merges` lists them, first listed first
  };
  Type type = Type::kBpe;

  std::vector<std::string> tokens;
  std::vector<float> scores;                // kSpm; empty = all 0
  std::vector<TokenKind> kinds;             // empty = all normal
  std::vector<AddedTokenRule> added_rules;  // of tokens that differ from the defaults above
  std::vector<std::pair<std::string, std::string>> merges;  // kBpe

  // How text becomes words. GGUF files name it (`pre_name`, the value of tokenizer.ggml.pre, empty
  // = "default"), tokenizer.json spells it out (`pipeline`, which then decides).
  std::string pre_name;
  std::optional<TextPipeline> pipeline;

  // -1 = absent. `eog` adds to eos, eot and eom.
  TokenId bos = -1;
  TokenId eos = -1;
  TokenId eot = -1;
  TokenId eom = -1;
  TokenId unk = -1;
  std::vector<TokenId> eog;

  bool add_bos = false;  // the model expects BOS first
  // kSpm without `pipeline`: text starts with a space of its own. Decoding drops it again; with a
  // `pipeline` this flag is about decoding only.
  bool add_space_prefix = false;
  bool ignore_merges = false;  // kBpe: a word that is a token is that token, merges or not
  bool byte_level = false;     // tokens are spelled in the byte-level alphabet
  bool byte_fallback = false;  // characters without a token become <0xNN> tokens
  bool fuse_unknown = false;   // a run of unknown characters is one unknown token
};

// Errors: kCorruption names the field that contradicts the others; kUnsupported names an unknown
// pre-tokenizer. Tokens that are spelled twice keep their ids; text becomes the first of them.
Result<std::unique_ptr<Tokenizer>> MakeTokenizer(VocabularySpec spec);

// A Hugging Face folder (or the path of its tokenizer.json): tokenizer.json, and beside it
// tokenizer_config.json and generation_config.json when they are there.
// Errors: kNotFound without tokenizer.json, kCorruption and kUnsupported name the JSON field.
Result<std::unique_ptr<Tokenizer>> TokenizerFromJson(const std::string& folder);

}  // namespace kvasir
