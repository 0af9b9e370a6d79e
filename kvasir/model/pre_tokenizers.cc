// The patterns behind the names of tokenizer.ggml.pre. Each is the published pattern of the model
// family that the name stands for, spelled for PCRE2; several patterns are applied one after
// another to the words that the one before left.
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <span>

#include "kvasir/model/text_pipeline.h"

namespace kvasir {
namespace {

// English contractions of cl100k, any case, and what most later patterns end with.
#define KVASIR_CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define KVASIR_WORD "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
#define KVASIR_PUNCTUATION " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
#define KVASIR_SPACES "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
// o200k: a word is upper case then lower case, with a contraction at its end.
#define KVASIR_UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define KVASIR_LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define KVASIR_CASED_WORDS(suffix)                                  \
  "[^\\r\\n\\p{L}\\p{N}]?" KVASIR_UPPER "*" KVASIR_LOWER "+" suffix \
  "|[^\\r\\n\\p{L}\\p{N}]?" KVASIR_UPPER "+" KVASIR_LOWER "*" suffix
#define KVASIR_SLASH_PUNCTUATION " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*"

constexpr const char* kGpt2 =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
constexpr const char* kDigit = "\\p{N}";
constexpr const char* kDigits = "\\p{N}+";
constexpr const char* kUpToThreeDigits = "\\p{N}{1,3}";
constexpr const char* kThreeDigits = "[0-9][0-9][0-9]";
constexpr const char* kCl100k =
    KVASIR_CONTRACTIONS "|" KVASIR_WORD "|\\p{N}{1,3}|" KVASIR_PUNCTUATION "|" KVASIR_SPACES;
constexpr const char* kQwen2 =
    KVASIR_CONTRACTIONS "|" KVASIR_WORD "|\\p{N}|" KVASIR_PUNCTUATION "|" KVASIR_SPACES;
constexpr const char* kQwen35 = KVASIR_CONTRACTIONS
    "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}"
    "| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" KVASIR_SPACES;
constexpr const char* kQwen2WithoutContractions =
    KVASIR_WORD "|\\p{N}|" KVASIR_PUNCTUATION "|" KVASIR_SPACES;
constexpr const char* kMiniCpm5 =
    KVASIR_CONTRACTIONS "|" KVASIR_WORD "|\\p{N}+|" KVASIR_PUNCTUATION "|" KVASIR_SPACES;
constexpr const char* kO200k =
    KVASIR_CASED_WORDS(KVASIR_CONTRACTIONS "?") "|\\p{N}{1,3}|" KVASIR_SLASH_PUNCTUATION
                                                "|" KVASIR_SPACES;
constexpr const char* kTekken =
    KVASIR_CASED_WORDS("") "|\\p{N}|" KVASIR_SLASH_PUNCTUATION "|" KVASIR_SPACES;
constexpr const char* kGroupedDigits = "\\d{1,3}(?=(?:\\d{3})*\\b)";
constexpr const char* kBailing =
    "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}"
    "| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+";
constexpr const char* kSeedCoder =
    KVASIR_CONTRACTIONS "|" KVASIR_WORD "|\\p{N}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|" KVASIR_SPACES;
constexpr const char* kBloom =
    " ?[^(\\s|.,!?\\x{2026}\\x{3002}\\x{FF0C}\\x{3001}\\x{0964}\\x{06D4}\\x{060C})]+";
constexpr const char* kJais2 =
    KVASIR_CONTRACTIONS "|" KVASIR_WORD "|\\p{N}{1,3}|" KVASIR_PUNCTUATION
                        "|\\s*[\\r\\n]+|\\s{512}(?!\\S)|\\s{256}(?!\\S)|\\s{128}(?!\\S)"
                        "|\\s{64}(?!\\S)|\\s{32}(?!\\S)|\\s{16}(?!\\S)|\\s{8}(?!\\S)"
                        "|\\s{4}(?!\\S)|\\s{1,2}(?!\\S)|\\s{1}";

constexpr const char* kFalconPunctuation = "[\\p{P}$+<=>^~|`]+";
constexpr const char* kDefaultPunctuation = "[\\p{P}$+<=>^~|]+";

constexpr const char* kLineBreak = "[\\r\\n]";
// Cased letters of the scripts that DeepSeek's first tokenizer lists.
constexpr const char* kDeepSeekWord =
    "\\s?[A-Za-z\\x{B5}\\x{C0}-\\x{D6}\\x{D8}-\\x{F6}\\x{F8}-\\x{1BA}\\x{1BC}-\\x{1BF}"
    "\\x{1C4}-\\x{293}\\x{295}-\\x{2AF}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37B}-\\x{37D}"
    "\\x{37F}\\x{386}\\x{388}-\\x{38A}\\x{38C}\\x{38E}-\\x{3A1}\\x{3A3}-\\x{3F5}"
    "\\x{3F7}-\\x{481}\\x{48A}-\\x{52F}\\x{531}-\\x{556}\\x{10A0}-\\x{10C5}\\x{13A0}-\\x{13F5}"
    "\\x{13F8}-\\x{13FD}\\x{1C90}-\\x{1CBA}\\x{1CBD}-\\x{1CBF}\\x{1D00}-\\x{1D2B}"
    "\\x{1D6B}-\\x{1D77}\\x{1D79}-\\x{1D9A}\\x{1E00}-\\x{1F15}\\x{1F18}-\\x{1F1D}"
    "\\x{1F20}-\\x{1F45}\\x{1F48}-\\x{1F4D}\\x{1F50}-\\x{1F57}\\x{1F59}\\x{1F5B}\\x{1F5D}"
    "\\x{1F5F}-\\x{1F7D}\\x{1F80}-\\x{1FB4}\\x{1FB6}-\\x{1FBC}\\x{1FBE}\\x{1FC2}-\\x{1FC4}"
    "\\x{1FC6}-\\x{1FCC}\\x{1FD0}-\\x{1FD3}\\x{1FD6}-\\x{1FDB}\\x{1FE0}-\\x{1FEC}"
    "\\x{1FF2}-\\x{1FF4}\\x{1FF6}-\\x{1FFC}\\x{2102}\\x{2107}\\x{210A}-\\x{2113}\\x{2115}"
    "\\x{2119}-\\x{211D}\\x{2124}\\x{2126}\\x{2128}\\x{212A}-\\x{212D}\\x{212F}-\\x{2134}"
    "\\x{2139}\\x{213C}-\\x{213F}\\x{2145}-\\x{2149}\\x{214E}\\x{2183}\\x{2184}"
    "\\x{2C00}-\\x{2C7B}\\x{2C7E}-\\x{2CE4}\\x{2CEB}-\\x{2CEE}\\x{2CF2}\\x{2CF3}"
    "\\x{A640}-\\x{A66D}\\x{A680}-\\x{A69B}\\x{A722}-\\x{A76F}\\x{A771}-\\x{A787}"
    "\\x{A78B}-\\x{A78E}\\x{AB70}-\\x{ABBF}\\x{FB00}-\\x{FB06}\\x{FB13}-\\x{FB17}"
    "\\x{FF21}-\\x{FF3A}\\x{FF41}-\\x{FF5A}\\x{10400}-\\x{1044F}\\x{104B0}-\\x{104D3}"
    "\\x{104D8}-\\x{104FB}\\x{10C80}-\\x{10CB2}\\x{10CC0}-\\x{10CF2}\\x{118A0}-\\x{118DF}"
    "\\x{1E900}-\\x{1E943}]+";
constexpr const char* kDeepSeekPunctuation =
    "\\s?[!-/:-~\\x{FF01}-\\x{FF0F}\\x{FF1A}-\\x{FF5E}\\x{2018}-\\x{201F}\\x{3000}-\\x{3002}]+";
constexpr const char* kTrailingSpaces = "\\s+$";
constexpr const char* kCjkAndHangul = "[\\x{4E00}-\\x{9FA5}\\x{800}-\\x{4E00}\\x{AC00}-\\x{D7FF}]+";
constexpr const char* kCjkAndKana = "[\\x{4E00}-\\x{9FA5}\\x{3040}-\\x{309F}\\x{30A0}-\\x{30FF}]+";
constexpr const char* kDeepSeek3 =
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+"
    "|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|" KVASIR_SPACES;
constexpr const char* kSpacedLetters = "\\s?\\p{L}+";
constexpr const char* kSpacedPunctuation = "\\s?\\p{P}+";

#undef KVASIR_SLASH_PUNCTUATION
#undef KVASIR_CASED_WORDS
#undef KVASIR_LOWER
#undef KVASIR_UPPER
#undef KVASIR_SPACES
#undef KVASIR_PUNCTUATION
#undef KVASIR_WORD
#undef KVASIR_CONTRACTIONS

struct Family {
  std::array<const char*, 6> patterns;  // applied in order; unused ones are null
  std::array<const char*, 11> names;    // likewise
  bool ignore_merges = false;
  bool adds_bos = false;
};

constexpr Family kFamilies[] = {
    {{kDefaultPunctuation, kGpt2, kDigits, kThreeDigits}, {"default"}},
    {{kCl100k},
     {"llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2",
      "jina-v5-nano"},
     true,
     true},
    {{kCl100k}, {"dbrx", "smaug-bpe", "chatglm-bpe", "glm4"}},
    {{kJais2}, {"jais-2"}},
    {{kQwen2},
     {"qwen2", "deepseek-r1-qwen", "stablelm2", "megrez", "hunyuan", "kormo", "f2llmv2", "grok-2",
      "solar-open"}},
    {{kQwen35}, {"qwen35"}},
    {{kQwen2WithoutContractions}, {"ufakzeka"}},
    {{kUpToThreeDigits, kMiniCpm5}, {"minicpm5"}, true},
    {{kO200k}, {"gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"}},
    {{kGroupedDigits, kO200k}, {"tiny_aya", "cohere2moe"}},
    {{kTekken}, {"tekken"}, true, true},
    {{kBailing}, {"bailingmoe", "bailingmoe2", "llada-moe"}},
    {{kSeedCoder}, {"seed-coder"}},
    {{kLineBreak, kDeepSeekWord, kDeepSeekPunctuation, kTrailingSpaces, kCjkAndHangul, kDigits},
     {"deepseek-llm"}},
    {{kLineBreak, kSpacedLetters, kSpacedPunctuation, kCjkAndHangul, kDigit}, {"deepseek-coder"}},
    {{kUpToThreeDigits, kCjkAndKana, kDeepSeek3},
     {"deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"}},
    {{kFalconPunctuation, kGpt2, kThreeDigits}, {"falcon"}},
    {{kDigit, kGpt2},
     {"starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b",
      "mellum2"}},
    {{kGpt2},
     {"gpt-2", "mpt", "olmo", "jais", "phi-2", "gigachat", "a.x-4.0", "mellum", "modern-bert",
      "exaone4", "trillion"}},
    {{kGpt2},
     {"granite-docling", "jina-es", "jina-de", "jina-v2-es", "jina-v2-de", "jina-v1-en",
      "jina-v2-code", "roberta-bpe"}},
    {{kBloom}, {"bloom", "poro-chat", "gpt3-finnish"}},
    {{kBloom, kDigit}, {"viking"}},
};

const Family* FindFamily(std::string_view name) {
  for (const Family& family : kFamilies) {
    for (const char* candidate : family.names) {
      if (candidate != nullptr && name == candidate) return &family;
    }
  }
  return nullptr;
}

}  // namespace

Result<NamedPreTokenizer> FindPreTokenizer(std::string_view name) {
  const Family* family = FindFamily(name);
  if (family == nullptr) {
    return Status::Unsupported(fmt::format("tokenizer.ggml.pre: unknown pre-tokenizer '{}'", name));
  }
  NamedPreTokenizer named;
  named.ignore_merges = family->ignore_merges;
  for (const char* pattern : family->patterns) {
    if (pattern == nullptr) continue;
    KVASIR_ASSIGN_OR_RETURN(SplitStep step, IsolatingStep(pattern));
    named.pipeline.split.push_back(std::move(step));
  }
  named.pipeline.split.push_back({.kind = SplitStep::Kind::kBytes});
  return named;
}

bool PreTokenizerAddsBos(std::string_view name) {
  const Family* family = FindFamily(name);
  return family != nullptr && family->adds_bos;
}

}  // namespace kvasir
