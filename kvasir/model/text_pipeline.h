// From text to the words that merging works on: normalisation, then splitting, each a list of
// small steps. This is the common ground of GGUF's named pre-tokenizers and of tokenizer.json.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kvasir/model/regex.h"
#include "kvasir/status.h"

namespace kvasir {

struct NormalizeStep {
  enum class Kind : uint8_t { kPrepend, kReplace, kNfc, kNfd, kNfkc, kNfkd };
  Kind kind;
  std::string from = {};  // kReplace: never empty
  std::string to = {};    // kReplace, kPrepend
};

struct SplitStep {
  enum class Kind : uint8_t {
    kRegex,            // cut at the matches of `pattern`
    kBytes,            // spell the bytes in the byte-level alphabet
    kReplaceSpaces,    // spell each U+0020 as `marker`
    kSpacePrefix,      // put `marker` before a word that does not start with it
    kTextSpacePrefix,  // the same for the first word of the text only
  };
  // What becomes of the matches.
  enum class Behavior : uint8_t {
    kIsolated,
    kRemoved,
    kMergedWithPrevious,
    kMergedWithNext,
    kContiguous,  // a run of adjacent matches is one word
  };
  Kind kind;
  std::shared_ptr<const Regex> pattern = nullptr;
  Behavior behavior = Behavior::kIsolated;
  bool invert = false;  // what lies between the matches plays the part of the matches
  std::string marker = " ";
};

struct TextPipeline {
  std::vector<NormalizeStep> normalize;
  std::vector<SplitStep> split;
};

// Invalid UTF-8 passes through unchanged.
std::string Normalize(const TextPipeline& pipeline, std::string_view text);

// Words of normalised text. A view is into `buffer`, which the call fills.
struct Words {
  std::string buffer;
  std::vector<std::string_view> words;
};
// `at_text_start`: `text` is the beginning of what the caller encodes. Bytes that are not UTF-8
// are words of their own wherever a pattern cuts.
void SplitWords(const TextPipeline& pipeline, std::string_view text, bool at_text_start,
                Words& out);

// A regex step that isolates the matches of `pattern`.
Result<SplitStep> IsolatingStep(std::string_view pattern);

// The pipeline that GGUF files name in tokenizer.ggml.pre for byte-level BPE, and what the name
// says about the vocabulary beyond its words.
struct NamedPreTokenizer {
  TextPipeline pipeline;
  bool ignore_merges = false;
};
// Errors: kUnsupported names the key and the value.
Result<NamedPreTokenizer> FindPreTokenizer(std::string_view name);
// Whether files of this kind expect BOS where they do not say so.
bool PreTokenizerAddsBos(std::string_view name);

}  // namespace kvasir
